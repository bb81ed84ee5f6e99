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
)

// BenchmarkAdmission goes the whole way, from the bytes of a review to the
// bytes of its answer.
func BenchmarkAdmission(b *testing.B) {
	asks := `{"keyroll.dev/objects":"db-username,db-password,api-key","keyroll.dev/env":"DB_PASSWORD=db-password","keyroll.dev/service-account":"web"}`
	deployment := fmt.Appendf(nil, `{"metadata":{"name":"web","annotations":%s},"spec":{"template":%s}}`, asks, realPod(`{"app":"web"}`, 3))
	benchmarks := []struct {
		name, path, kind string
		object           []byte
	}{
		{"pod of 3 containers", "/pods", "Pod", realPod(asks, 3)},
		{"pod of 20 containers", "/pods", "Pod", realPod(asks, 20)},
		{"pod that asks for nothing", "/pods", "Pod", realPod(`{"keyroll.dev/restart-on":"auto"}`, 3)},
		{"pod refused", "/pods", "Pod", realPod(`{"keyroll.dev/objects":"db_password"}`, 3)},
		{"deployment", "/workloads", "Deployment", deployment},
	}
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
			for b.Loop() {
				r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, bm.path, bytes.NewReader(body))
				r.Header.Set("Content-Type", "application/json")
				recorder := httptest.NewRecorder()
				h.ServeHTTP(recorder, r)
				if recorder.Code != http.StatusOK {
					b.Fatal(recorder.Body)
				}
			}
		})
	}
}

// realPod is a pod of the size that pods have, with probes and managed fields.
func realPod(annotations string, containers int) []byte {
	container := `{"name":"c%d","image":"registry.example.com/shop/app:1.2.3","args":["serve","--port=8080"],` +
		`"env":[{"name":"POD_IP","valueFrom":{"fieldRef":{"fieldPath":"status.podIP"}}},{"name":"MODE","value":"production"}],` +
		`"resources":{"requests":{"cpu":"100m","memory":"128Mi"},"limits":{"memory":"256Mi"}},` +
		`"readinessProbe":{"httpGet":{"path":"/ready","port":8080},"periodSeconds":5},"livenessProbe":{"httpGet":{"path":"/live","port":8080}},` +
		`"volumeMounts":[{"name":"data","mountPath":"/data"},{"name":"kube-api-access-x7k2p","readOnly":true,"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}],` +
		`"securityContext":{"allowPrivilegeEscalation":false,"runAsNonRoot":true,"capabilities":{"drop":["ALL"]}}}`
	var all []string
	for i := range containers {
		all = append(all, fmt.Sprintf(container, i))
	}
	fields := strings.Repeat(`"f:x":{"f:y":{},"k:{\"name\":\"c\"}":{".":{}}},`, 60)
	return fmt.Appendf(nil, `{"apiVersion":"v1","kind":"Pod","metadata":{"generateName":"web-6d4cf56db6-","labels":{"app":"web"},"annotations":%s,`+
		`"managedFields":[{"manager":"kube-controller-manager","operation":"Update","fieldsV1":{%s"f:z":{}}}]},`+
		`"spec":{"serviceAccountName":"default","serviceAccount":"default","containers":[%s],`+
		`"volumes":[{"name":"data","emptyDir":{}},{"name":"kube-api-access-x7k2p","projected":{"sources":[{"serviceAccountToken":{"path":"token"}}]}}]}}`,
		annotations, fields, strings.Join(all, ","))
}
