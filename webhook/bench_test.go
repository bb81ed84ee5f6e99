package webhook

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"keyroll.dev/webhook/inject"
)

// What the pods of the benchmarks ask for.
const (
	asksNothing = `{"checksum/config":"0a1b2c"}`
	asks        = `{"keyroll.dev/objects":"db-username,db-password,api-key","keyroll.dev/service-account":"web"}`
	asksForEnv  = `{"keyroll.dev/objects":"db-username,db-password,api-key","keyroll.dev/env":"DB_PASSWORD=db-password","keyroll.dev/service-account":"web"}`
)

var benchmarks = []struct {
	name, path, kind string
	object           []byte
}{
	{"none-12KB", "/pods", "Pod", realPod(asksNothing, 5, 12)},
	{"pod-3KB", "/pods", "Pod", realPod(asks, 1, 3)},
	{"pod-12KB", "/pods", "Pod", realPod(asks, 5, 12)},
	{"pod-12KB-env", "/pods", "Pod", realPod(asksForEnv, 5, 12)},
	{"pod-205KB", "/pods", "Pod", realPod(asks, 5, 640)},
	{"pod-205KB-env", "/pods", "Pod", realPod(asksForEnv, 5, 640)},
	{"refused-12KB", "/pods", "Pod", realPod(`{"keyroll.dev/objects":"db_password"}`, 5, 12)},
	{"deployment-12KB", "/workloads", "Deployment",
		fmt.Appendf(nil, `{"metadata":{"name":"web","annotations":%s},"spec":{"template":%s}}`, asksForEnv, realPod(`{"app":"web"}`, 5, 12))},
}

// BenchmarkAdmission goes the whole way, from the bytes of a review to the
// bytes of its answer.
func BenchmarkAdmission(b *testing.B) {
	for _, bm := range benchmarks {
		b.Run(bm.name, func(b *testing.B) {
			h, err := New(Config{
				Cluster: shop(), Timeout: time.Second, Registerer: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				b.Fatal(err)
			}
			body := reviewOf(b, request(bm.kind, bm.object, nil))
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			w := &answered{header: http.Header{}}
			r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, bm.path, nil)
			r.Header.Set("Content-Type", "application/json")
			r.ContentLength = int64(len(body))
			for b.Loop() {
				r.Body = reader{bytes.NewReader(body)}
				h.ServeHTTP(w, r)
				if w.status != http.StatusOK {
					b.Fatal(w.status)
				}
			}
		})
	}
}

// reader is a body.
type reader struct{ *bytes.Reader }

func (reader) Close() error { return nil }

// answered takes an answer without keeping it.
type answered struct {
	header http.Header
	status int
}

func (a *answered) Header() http.Header    { return a.header }
func (a *answered) WriteHeader(status int) { a.status = status }
func (a *answered) Write(p []byte) (int, error) {
	a.status = http.StatusOK
	return len(p), nil
}

// BenchmarkParse reads the review, and what is needed of its object.
func BenchmarkParse(b *testing.B) {
	for _, bm := range benchmarks {
		b.Run(bm.name, func(b *testing.B) {
			body := reviewOf(b, request(bm.kind, bm.object, nil))
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				v := review{newSubject: newPodSubject}
				if bm.kind != "Pod" {
					v.newSubject = newWorkloadSubject
				}
				err := v.decode(body)
				if err == nil && bm.kind != "Pod" {
					_, err = inject.DecodeWorkload(bm.kind, v.Request.subject.(*workloadSubject).object)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkPlan decides, up to the operations of the patch.
func BenchmarkPlan(b *testing.B) {
	for _, bm := range benchmarks {
		if bm.kind != "Pod" {
			continue
		}
		b.Run(bm.name, func(b *testing.B) {
			pod, err := decodePod(bm.object)
			if err != nil {
				b.Fatal(err)
			}
			cluster := shop()
			namespace, _ := cluster.Namespace("shop")
			in := inject.Input{Pod: pod, Namespace: namespace, Accounts: cluster.Accounts("shop")}
			b.ReportAllocs()
			for b.Loop() {
				inject.NewPlan(in)
			}
		})
	}
}

// BenchmarkPatch encodes the answer.
func BenchmarkPatch(b *testing.B) {
	for _, bm := range benchmarks {
		if bm.kind != "Pod" {
			continue
		}
		b.Run(bm.name, func(b *testing.B) {
			pod, err := decodePod(bm.object)
			if err != nil {
				b.Fatal(err)
			}
			cluster := shop()
			namespace, _ := cluster.Namespace("shop")
			p := inject.NewPlan(inject.Input{Pod: pod, Namespace: namespace, Accounts: cluster.Accounts("shop")})
			a := answerOf(p.Reason, p.Problems.Err(), p.Patch(), p.Warnings)
			var text []byte
			b.ReportAllocs()
			for b.Loop() {
				text = a.review(text[:0], "b2c3")
			}
		})
	}
}

// realPod is a pod of the size that pods have, with probes, managed fields, and
// this many variables in each container; the last two are init containers.
func realPod(annotations string, containers, variables int) []byte {
	container := `{"name":"c%d","image":"registry.example.com/shop/app:1.2.3","args":["serve","--port=8080"],` +
		`"env":[{"name":"POD_IP","valueFrom":{"fieldRef":{"fieldPath":"status.podIP"}}}%s],` +
		`"resources":{"requests":{"cpu":"100m","memory":"128Mi"},"limits":{"memory":"256Mi"}},` +
		`"readinessProbe":{"httpGet":{"path":"/ready","port":8080},"periodSeconds":5},"livenessProbe":{"httpGet":{"path":"/live","port":8080}},` +
		`"volumeMounts":[{"name":"data","mountPath":"/data"},{"name":"kube-api-access-x7k2p","readOnly":true,"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}],` +
		`"securityContext":{"allowPrivilegeEscalation":false,"runAsNonRoot":true,"capabilities":{"drop":["ALL"]}}}`
	var env strings.Builder
	for i := range variables {
		fmt.Fprintf(&env, `,{"name":"SETTING_%03d","value":"value %d of some setting"}`, i, i)
	}
	var apps, inits []string
	for i := range containers {
		c := fmt.Sprintf(container, i, env.String())
		if containers > 2 && i >= containers-2 {
			inits = append(inits, c)
			continue
		}
		apps = append(apps, c)
	}
	fields := strings.Repeat(`"f:x":{"f:y":{},"k:{\"name\":\"c\"}":{".":{}}},`, 60)
	return fmt.Appendf(nil, `{"apiVersion":"v1","kind":"Pod","metadata":{"generateName":"web-6d4cf56db6-","labels":{"app":"web"},"annotations":%s,`+
		`"managedFields":[{"manager":"kube-controller-manager","operation":"Update","fieldsV1":{%s"f:z":{}}}]},`+
		`"spec":{"serviceAccountName":"default","serviceAccount":"default","initContainers":[%s],"containers":[%s],`+
		`"volumes":[{"name":"data","emptyDir":{}},{"name":"kube-api-access-x7k2p","projected":{"sources":[{"serviceAccountToken":{"path":"token"}}]}}]}}`,
		annotations, fields, strings.Join(inits, ","), strings.Join(apps, ","))
}
