// Package alerts holds the alerts and the dashboard of manifests/chart against
// Prometheus' own parser, query engine and templates: what they name is what the
// binaries show, and each alert fires when it should, for as long as it should.
package alerts

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/template"
	"sigs.k8s.io/yaml"
)

// files of the chart.
const files = "../../manifests/chart/files/"

type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

func readRules(t *testing.T) []rule {
	t.Helper()
	content, err := os.ReadFile(files + "rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Groups []struct{ Rules []rule } }
	if err := yaml.Unmarshal(content, &file); err != nil {
		t.Fatal(err)
	}
	var all []rule
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) == 0 {
		t.Fatal("no rules")
	}
	return all
}

// healthy is what an installation shows that has nothing to do, for as long as
// the replacement x says. Time is the epoch's: certificates end in a week, and
// the CA in a year.
func healthy(minutes int) []string {
	var series []string
	for _, s := range []string{
		`keyroll_webhook_requests_in_flight{pod="a"} 0`,
		`keyroll_webhook_requests_in_flight{pod="b"} 0`,
		`keyroll_webhook_requests_total{pod="a",webhook="pods",operation="CREATE",outcome="error",reason="NamespaceUnknown"} 0`,
		`keyroll_webhook_requests_total{pod="a",webhook="pods",operation="other",outcome="error",reason="NotJSON"} 0`,
		`keyroll_webhook_requests_total{pod="a",webhook="pods",operation="CREATE",outcome="refused",reason="BadAnnotations"} 0`,
		`keyroll_webhook_request_duration_seconds_bucket{pod="a",webhook="pods",le="0.005"} 0+60`,
		`keyroll_webhook_request_duration_seconds_bucket{pod="a",webhook="pods",le="2.5"} 0+60`,
		`keyroll_webhook_request_duration_seconds_bucket{pod="a",webhook="pods",le="+Inf"} 0+60`,
		`keyroll_webhook_panics_total{pod="a"} 0`,
		`keyroll_webhook_ordering_ok{pod="a"} 1`,
		`keyroll_webhook_certificate_trusted{pod="a"} 1`,
		`keyroll_webhook_certificate_trusted{pod="b"} 1`,
		`keyroll_webhook_certificate_expiry_timestamp_seconds{pod="a"} 604800`,
		`keyroll_webhook_ca_expiry_timestamp_seconds{pod="a"} 31536000`,
		`keyroll_webhook_bundle_writes_total{pod="a",outcome="error"} 0`,
		`keyroll_watcher_leader{pod="c"} 1`,
		`keyroll_watcher_leader{pod="d"} 0`,
		`keyroll_watcher_queue_longest_look_seconds{pod="c",queue="workload"} 0`,
		`keyroll_watcher_queue_wait_seconds_bucket{pod="c",queue="workload",le="10"} 0+98`,
		`keyroll_watcher_queue_wait_seconds_bucket{pod="c",queue="workload",le="100"} 0+98`,
		`keyroll_watcher_queue_wait_seconds_bucket{pod="c",queue="workload",le="+Inf"} 0+98`,
		`keyroll_watcher_rotation_off{pod="c"} 0`,
		`keyroll_watcher_stuck_rollouts{pod="c"} 0`,
		`keyroll_watcher_rollouts_total{pod="c",kind="Deployment",outcome="refused"} 0`,
		`keyroll_watcher_rollouts_total{pod="c",kind="Deployment",outcome="started"} 0+5`,
		`keyroll_watcher_waiting_workloads{pod="c",reason="SecretMissing"} 0`,
		`keyroll_watcher_waiting_workloads{pod="c",reason="RolledRecently"} 2`,
		`keyroll_watcher_stale_pods{pod="c",reason="ContentChanged"} 0`,
		`keyroll_watcher_stale_pods{pod="c",reason="RestartNever"} 3`,
		`keyroll_watcher_stale_pods{pod="c",reason="Paused"} 0`,
		`keyroll_watcher_unknown_pods{pod="c"} 0`,
		`keyroll_watcher_lagging_mounts{pod="c"} 0`,
		`keyroll_watcher_uninjected_pods{pod="c"} 0`,
		`keyroll_watcher_classes_total{pod="c",outcome="withheld"} 0`,
		`keyroll_watcher_classes_total{pod="c",outcome="created"} 0+1`,
		`apiserver_admission_webhook_rejection_count{name="pods.keyroll.dev",type="admit",operation="CREATE",error_type="calling_webhook_error",rejection_code="0"} 0`,
		`apiserver_admission_webhook_rejection_count{name="pods.keyroll.dev",type="admit",operation="CREATE",error_type="no_error",rejection_code="403"} 0+1`,
		`apiserver_admission_webhook_rejection_count{name="other.example",type="admit",operation="CREATE",error_type="calling_webhook_error",rejection_code="0"} 0+1`,
		`apiserver_admission_webhook_fail_open_count{name="workloads.keyroll.dev",type="admit"} 0`,
	} {
		series = append(series, fmt.Sprintf("%sx%d", s, minutes))
	}
	return series
}

// firing is the time, in minutes, at which an alert begins to fire and ends.
type firing struct {
	from, to int // to 0: to the end
}

func TestAlerts(t *testing.T) {
	tests := map[string]struct {
		minutes int
		series  []string          // in place of the healthy ones of the same name and labels
		want    map[string]firing // and no other
	}{
		"all is well": {minutes: 300},
		"the webhook is gone for half an hour": {
			minutes: 90,
			series: []string{
				`keyroll_webhook_requests_in_flight{pod="a"} 0x9 _x30 0x50`,
				`keyroll_webhook_requests_in_flight{pod="b"} 0x9`,
			},
			// A series counts as there for five minutes more.
			want: map[string]firing{"KeyrollWebhookAbsent": {24, 40}},
		},
		"one of two webhooks is gone": {
			minutes: 60,
			series:  []string{`keyroll_webhook_requests_in_flight{pod="b"} 0x9`, `keyroll_webhook_certificate_trusted{pod="b"} 1x9`},
		},
		"admission fails for a quarter of an hour": {
			minutes: 60,
			series: []string{
				`keyroll_webhook_requests_total{pod="a",webhook="pods",operation="CREATE",outcome="error",reason="NamespaceUnknown"} 0x10 1+1x14 15x40`,
			},
			want: map[string]firing{"KeyrollAdmissionFails": {16, 29}},
		},
		"one admission fails": {
			minutes: 60,
			series: []string{
				`keyroll_webhook_requests_total{pod="a",webhook="pods",operation="CREATE",outcome="error",reason="NamespaceUnknown"} 0x10 1x50`,
			},
		},
		"somebody scans the port, and users make mistakes": {
			minutes: 60,
			series: []string{
				`keyroll_webhook_requests_total{pod="a",webhook="pods",operation="other",outcome="error",reason="NotJSON"} 0+9x60`,
				`keyroll_webhook_requests_total{pod="a",webhook="pods",operation="CREATE",outcome="refused",reason="BadAnnotations"} 0+9x60`,
			},
		},
		"the API server does not reach the webhook": {
			minutes: 60,
			series: []string{
				`apiserver_admission_webhook_rejection_count{name="pods.keyroll.dev",type="admit",operation="CREATE",error_type="calling_webhook_error",rejection_code="0"} 0x10 1+1x14 15x40`,
			},
			want: map[string]firing{"KeyrollAdmissionUnreachable": {16, 29}},
		},
		"it does not for workloads, which are let in": {
			minutes: 60,
			series:  []string{`apiserver_admission_webhook_fail_open_count{name="workloads.keyroll.dev",type="admit"} 0x10 1+1x14 15x40`},
			want:    map[string]firing{"KeyrollAdmissionUnreachable": {16, 29}},
		},
		"two in a hundred answers take seconds": {
			minutes: 60,
			series: []string{
				`keyroll_webhook_request_duration_seconds_bucket{pod="a",webhook="pods",le="0.005"} 0+98x60`,
				`keyroll_webhook_request_duration_seconds_bucket{pod="a",webhook="pods",le="2.5"} 0+100x60`,
				`keyroll_webhook_request_duration_seconds_bucket{pod="a",webhook="pods",le="+Inf"} 0+100x60`,
			},
			want: map[string]firing{"KeyrollAdmissionSlow": {from: 11}},
		},
		"the webhook panics": {
			minutes: 60,
			series:  []string{`keyroll_webhook_panics_total{pod="a"} 0x9 1x50`},
			want:    map[string]firing{"KeyrollWebhookPanicked": {10, 24}},
		},
		"another webhook sorts before ours": {
			minutes: 60,
			series:  []string{`keyroll_webhook_ordering_ok{pod="a"} 1x9 0x29 1x20`},
			want:    map[string]firing{"KeyrollWebhookOutOfOrder": {25, 40}},
		},
		"one replica's certificate is not trusted": {
			minutes: 60,
			series:  []string{`keyroll_webhook_certificate_trusted{pod="b"} 1x9 0x19 1x30`},
			want:    map[string]firing{"KeyrollCertificateNotTrusted": {15, 30}},
		},
		"a replica starts, and is not trusted for a while": {
			minutes: 60,
			series:  []string{`keyroll_webhook_certificate_trusted{pod="b"} 0x3 1x56`, `keyroll_webhook_certificate_expiry_timestamp_seconds{pod="a"} 0x3 604800x56`},
		},
		"the certificate ends in a day, and is renewed late": {
			minutes: 100,
			series:  []string{`keyroll_webhook_certificate_expiry_timestamp_seconds{pod="a"} 87000x60 604800x40`}, // a day and ten minutes
			want:    map[string]firing{"KeyrollCertificateExpires": {26, 61}},
		},
		"there is no certificate": {
			minutes: 60,
			series:  []string{`keyroll_webhook_certificate_expiry_timestamp_seconds{pod="a"} 0x60`},
			want:    map[string]firing{"KeyrollCertificateExpires": {from: 15}},
		},
		"the CA ends in 30 days": {
			minutes: 120,
			series:  []string{`keyroll_webhook_ca_expiry_timestamp_seconds{pod="a"} 2592600x120`}, // and ten minutes
			want:    map[string]firing{"KeyrollCAExpires": {from: 71}},
		},
		"the bundle cannot be written": {
			minutes: 90,
			series:  []string{`keyroll_webhook_bundle_writes_total{pod="a",outcome="error"} 0x9 1+1x29 30x50`},
			want:    map[string]firing{"KeyrollBundleNotWritten": {25, 53}},
		},
		"the watcher is gone": {
			minutes: 60,
			series:  []string{`keyroll_watcher_leader{pod="c"} 1x9`, `keyroll_watcher_leader{pod="d"} 0x9`},
			want:    map[string]firing{"KeyrollWatcherAbsent": {from: 24}},
		},
		"the leader hands over within a minute": {
			minutes: 60,
			series:  []string{`keyroll_watcher_leader{pod="c"} 1x9 0x50`, `keyroll_watcher_leader{pod="d"} 0x10 1x49`},
		},
		"nobody leads": {
			minutes: 60,
			series:  []string{`keyroll_watcher_leader{pod="c"} 1x9 0x19 1x30`},
			want:    map[string]firing{"KeyrollWatcherHasNoLeader": {15, 30}},
		},
		"a look hangs": {
			minutes: 60,
			series:  []string{`keyroll_watcher_queue_longest_look_seconds{pod="c",queue="workload"} 0x9 60+60x19 0x30`},
			want:    map[string]firing{"KeyrollWatcherHangs": {22, 30}},
		},
		"patches are answered slowly for half an hour, and looks wait": {
			minutes: 90,
			series: []string{
				`keyroll_watcher_queue_wait_seconds_bucket{pod="c",queue="workload",le="100"} 0+98x9 982+100x29 3980+98x50`,
				`keyroll_watcher_queue_wait_seconds_bucket{pod="c",queue="workload",le="+Inf"} 0+98x9 982+100x29 3980+98x50`,
			},
			want: map[string]firing{"KeyrollWatcherBehind": {22, 41}},
		},
		"a watcher that starts has much to look at": {
			minutes: 90,
			series: []string{
				`keyroll_watcher_queue_wait_seconds_bucket{pod="c",queue="workload",le="10"} 0x2 294+98x87`,
				`keyroll_watcher_queue_wait_seconds_bucket{pod="c",queue="workload",le="100"} 0+5000x2 15294+98x87`,
				`keyroll_watcher_queue_wait_seconds_bucket{pod="c",queue="workload",le="+Inf"} 0+5000x2 15294+98x87`,
			},
		},
		"the driver's rotation is switched off": {
			minutes: 60,
			series:  []string{`keyroll_watcher_rotation_off{pod="c"} 0x9 1x29 0x20`},
			want:    map[string]firing{"KeyrollRotationOff": {25, 40}},
		},
		"a rollout is stuck": {
			minutes: 60,
			series:  []string{`keyroll_watcher_stuck_rollouts{pod="c"} 0x9 1x19 0x30`},
			want:    map[string]firing{"KeyrollRolloutStuck": {15, 30}},
		},
		"rollouts are refused for half an hour": {
			minutes: 90,
			series:  []string{`keyroll_watcher_rollouts_total{pod="c",kind="Deployment",outcome="refused"} 0x9 1+1x29 30x50`},
			want:    map[string]firing{"KeyrollRolloutsRefused": {25, 53}},
		},
		"a workload waits for a Secret, and its pods are stale": {
			minutes: 150,
			series: []string{
				`keyroll_watcher_waiting_workloads{pod="c",reason="SecretMissing"} 0x9 1x89 0x50`,
				`keyroll_watcher_stale_pods{pod="c",reason="SecretMissing"} 0x9 4x89 0x50`,
			},
			want: map[string]firing{"KeyrollWorkloadsWait": {70, 100}, "KeyrollPodsStale": {70, 100}},
		},
		"a rollout takes half an hour": {
			minutes: 150,
			series:  []string{`keyroll_watcher_stale_pods{pod="c",reason="ContentChanged"} 0x9 4x29 0x110`},
		},
		"a patch is refused for two hours": {
			minutes: 150,
			series:  []string{`keyroll_watcher_stale_pods{pod="c",reason="ContentChanged"} 0x9 4x119 0x20`},
			want:    map[string]firing{"KeyrollPodsStale": {70, 130}},
		},
		"people keep pods stale for more than a day": {
			minutes: 1600,
			series:  []string{`keyroll_watcher_stale_pods{pod="c",reason="Paused"} 0x9 2x1489 0x100`},
			want:    map[string]firing{"KeyrollPodsLeftStale": {1450, 1500}},
		},
		"nothing is known of a pod": {
			minutes: 150,
			series:  []string{`keyroll_watcher_unknown_pods{pod="c"} 0x9 1x89 0x50`},
			want:    map[string]firing{"KeyrollPodsUnknown": {70, 100}},
		},
		"a mount lags": {
			minutes: 60,
			series:  []string{`keyroll_watcher_lagging_mounts{pod="c"} 0x9 1x29 0x20`},
			want:    map[string]firing{"KeyrollMountsLag": {25, 40}},
		},
		"pods are not injected": {
			minutes: 60,
			series:  []string{`keyroll_watcher_uninjected_pods{pod="c"} 0x9 2x29 0x20`},
			want:    map[string]firing{"KeyrollPodsNotInjected": {25, 40}},
		},
		"a class is withheld": {
			minutes: 120,
			series:  []string{`keyroll_watcher_classes_total{pod="c",outcome="withheld"} 0x9 1+2x59 119x50`},
			want:    map[string]firing{"KeyrollClassesNotMade": {40, 83}},
		},
	}
	fired := map[string]bool{}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := remember(t, slices.Concat(healthy(tc.minutes), tc.series)...)
			for _, r := range readRules(t) {
				want, wanted := tc.want[r.Alert]
				if want.to == 0 {
					want.to = tc.minutes + 1
				}
				got, fires := watch(t, m, r, tc.minutes)
				fired[r.Alert] = fired[r.Alert] || fires
				if fires != wanted || fires && got != want {
					t.Errorf("%s fires: %t, in minutes %d to %d; want %t, %d to %d", r.Alert, fires, got.from, got.to, wanted, want.from, want.to)
				}
			}
		})
	}
	for _, r := range readRules(t) {
		if !fired[r.Alert] {
			t.Errorf("no case makes %s fire", r.Alert)
		}
	}
}

// watch evaluates a rule as Prometheus does: an alert is pending from the first
// evaluation that has it, and fires once it has been for the rule's time.
func watch(t *testing.T, m memory, r rule, minutes int) (f firing, fires bool) {
	t.Helper()
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, LookbackDelta: 5 * time.Minute, Parser: language})
	defer func() { _ = engine.Close() }()
	var hold model.Duration
	if r.For != "" {
		var err error
		if hold, err = model.ParseDuration(r.For); err != nil {
			t.Fatalf("%s: %v", r.Alert, err)
		}
	}
	query, err := engine.NewRangeQuery(t.Context(), m, nil, r.Expr, time.Unix(0, 0), time.Unix(0, 0).Add(time.Duration(minutes)*interval), interval)
	if err != nil {
		t.Fatalf("%s: %v", r.Alert, err)
	}
	defer query.Close()
	result := query.Exec(t.Context())
	if result.Err != nil || len(result.Warnings) > 0 {
		t.Fatalf("%s: %v, %v", r.Alert, result.Err, result.Warnings)
	}
	matrix, err := result.Matrix()
	if err != nil {
		t.Fatal(err)
	}
	for _, series := range matrix {
		if from, to, found := held(series.Floats, time.Duration(hold)); found {
			f, fires = firing{from, to}, true
			expand(t, r, series)
		}
	}
	return f, fires
}

// held finds when a result begins to have lasted for so long, and when it ends.
func held(points []promql.FPoint, hold time.Duration) (from, to int, found bool) {
	minute := func(p promql.FPoint) int { return int(p.T / interval.Milliseconds()) }
	start := 0
	for i, p := range points {
		if i > 0 && minute(p) != minute(points[i-1])+1 {
			if found {
				return from, to, true
			}
			start = i
		}
		if !found && time.Duration(minute(p)-minute(points[start]))*interval >= hold {
			from, found = minute(p), true
		}
		to = minute(p) + 1
	}
	return from, to, found
}

// expand fills in an alert's annotations, which must have what they ask for.
func expand(t *testing.T, r rule, s promql.Series) {
	t.Helper()
	sample := promql.Sample{Metric: s.Metric, F: s.Floats[0].F}
	none := func(context.Context, string, time.Time) (promql.Vector, error) { return nil, nil }
	data := template.AlertTemplateData(s.Metric.Map(), nil, "", sample)
	for name, text := range r.Annotations {
		text = "{{$labels := .Labels}}{{$value := .Value}}" + text
		got, err := template.NewTemplateExpander(t.Context(), text, r.Alert, data, 0, none, &url.URL{}, []string{"missingkey=error"}).Expand()
		if err != nil || strings.Contains(got, "<no value>") || strings.Contains(got, "  ") {
			t.Errorf("%s: annotation %s: %q, %v", r.Alert, name, got, err)
		}
	}
}
