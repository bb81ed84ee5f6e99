package certs

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What is applied owns its fields: an entry that were left out would lose its
// bundle, a field more would be taken from the chart, and without UID and
// resourceVersion a deleted object would be made again or another replica's
// write undone.
func TestBundleApplyNamesWhatItOwns(t *testing.T) {
	found := ourConfiguration()
	found.UID, found.ResourceVersion = "0f1e", "42"
	found.Webhooks[1].ClientConfig.CABundle = []byte("kept")
	got, err := json.MarshalIndent(bundleApply(found, [][]byte{[]byte("new"), []byte("kept")}), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want := `{
  "kind": "MutatingWebhookConfiguration",
  "apiVersion": "admissionregistration.k8s.io/v1",
  "metadata": {
    "name": "akv-keyroll",
    "uid": "0f1e",
    "resourceVersion": "42"
  },
  "webhooks": [
    {
      "name": "pods.keyroll.dev",
      "clientConfig": {
        "caBundle": "bmV3"
      }
    },
    {
      "name": "workloads.keyroll.dev",
      "clientConfig": {
        "caBundle": "a2VwdA=="
      }
    }
  ]
}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("applied object (-want +got):\n%s", diff)
	}
}
