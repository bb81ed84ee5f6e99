package chart

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What the chart renders with each set of values the API server takes without a
// complaint: it knows every field, every expression compiles, and Pod Security,
// which the namespace enforces, has nothing to warn of.
func TestTheAPIServerAcceptsEveryVariant(t *testing.T) {
	ensureNamespace(t)
	files, err := filepath.Glob(filepath.Join(chartFolder(t), "..", "testdata", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, filepath.Join(chartFolder(t), "..", "install.yaml"))
	checked := 0
	for _, file := range files {
		if strings.HasSuffix(file, ".values.yaml") {
			continue
		}
		checked++
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			manifests, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer manifests.Close() //nolint:errcheck // only read
			cmd := shared.KubectlCommand(t.Context(), "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-")
			var complaints bytes.Buffer
			cmd.Stdin, cmd.Stderr = manifests, &complaints
			if err := cmd.Run(); err != nil || complaints.Len() > 0 {
				t.Errorf("%v\n%s", err, complaints.String())
			}
		})
	}
	if want := 5; checked < want {
		t.Errorf("%d variants found, want %d at least", checked, want)
	}
}

// A relative address leads nowhere from where alerts are read.
func TestWithoutAnAddressAlertsNameNoRunbook(t *testing.T) {
	out, err := helm(t, nil, "template", "keyroll", chartFolder(t), "--namespace="+namespace, "--kube-version=1.30.0", "--set=prometheusRule.enabled=true")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out, "KeyrollWebhookAbsent") || strings.Contains(out, "runbook_url") {
		t.Errorf("the rules are\n%s", out)
	}
}

// A value that is misspelled, or that contradicts another, is refused before
// anything is rendered; all others are in the variants.
func TestHelmRefusesValues(t *testing.T) {
	tests := map[string]string{
		"an unknown value":               "--set=webhok.replicas=3",
		"an unknown value further down":  "--set=watcher.secretTriger=false",
		"an unknown mode":                "--set=certificates.mode=certmanager",
		"files without a Secret":         "--set=certificates.mode=files",
		"a CA of cert-manager's alone":   "--set=certificates.mode=cert-manager,certificates.caDuration=72h",
		"a bundle that is none":          "--set=certificates.files.caBundle=LS0tLS1CRUdJTg==",
		"a duration without a unit":      "--set-string=watcher.settle=5",
		"a burst without a limit":        "--set=watcher.burst=10",
		"a wait that nobody uses":        "--set=webhook.timeoutSeconds=6",
		"a monitor of another API":       "--set=podMonitor.apiVersion=v1",
		"no replica":                     "--set=webhook.replicas=0",
		"a tenant that is no id":         "--set=tenantID=contoso",
		"a misspelled part of resources": "--set=webhook.resources.limit.memory=1Gi",
		"an API server without a port":   "--set-json=networkPolicy.apiServerPorts=[]",
	}
	for name, set := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := helm(t, nil, "template", "keyroll", chartFolder(t), "--namespace="+namespace, set)
			if err == nil || !strings.Contains(err.Error(), "values don't meet the specifications of the schema") {
				t.Errorf("helm template %s: %v", set, err)
			}
		})
	}
}

// A replica that is killed while it answers costs pods their admission.
func TestHelmRefusesAnEndThatComesTooSoon(t *testing.T) {
	const drain, linger, grace = "webhook.drain=", "webhook.linger=", "webhook.terminationGracePeriodSeconds="
	tests := map[string]struct {
		set    string
		refuse bool
	}{
		"a longer drain alone":            {drain + "1m", true},
		"the longest drain alone":         {drain + "18s", false},
		"a second more":                   {drain + "19s", true},
		"the longest time to linger":      {linger + "1m47s", false},
		"a tenth of a second more":        {linger + "1m47s100ms", true},
		"both, with an end that fits":     {drain + "0.5m," + linger + "0.01h," + grace + "76", false},
		"both, with an end a second less": {drain + "0.5m," + linger + "0.01h," + grace + "75", true},
		"an earlier end alone":            {grace + "104", true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := helm(t, nil, "template", "keyroll", chartFolder(t), "--namespace="+namespace, "--kube-version=1.30.0", "--set="+tc.set)
			if tc.refuse && (err == nil || !strings.Contains(err.Error(), "webhook.terminationGracePeriodSeconds is less than")) || !tc.refuse && err != nil {
				t.Errorf("helm template --set=%s: %v, want refused %t", tc.set, err, tc.refuse)
			}
		})
	}
}
