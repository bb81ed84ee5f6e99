package inject

import (
	"testing"

	"keyroll.dev/internal/annotation"
)

// A directory that is written wrongly on the namespace is not taken from
// elsewhere: pods would wait for ever for an identity that was not meant.
func TestAWrongTenantOfTheNamespaceIsNotReplaced(t *testing.T) {
	c := newCluster(t)
	c.fallback.TenantID = "99999999-9999-9999-9999-999999999999"
	pod := []byte(`{"metadata":{"annotations":{"keyroll.dev/objects":"db-password","keyroll.dev/vault":"shop-kv"}},"spec":{"serviceAccountName":"web","containers":[{"name":"app"}]}}`)
	c.namespace.Annotations = map[string]string{annotation.TenantID: "not_a_tenant"}
	if p := c.plan(t, pod); p.Reason != BadNamespace || !about(p.Problems, annotation.TenantID) {
		t.Errorf("reason %s, record %+v, problems %v", p.Reason, p.Record, p.Problems)
	}
	c.namespace.Annotations = nil
	if p := c.plan(t, pod); p.Reason != Injected || p.Record.TenantID != c.fallback.TenantID {
		t.Errorf("without one: reason %s, record %+v", p.Reason, p.Record)
	}
}
