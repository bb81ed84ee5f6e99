package watcher

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	kubefake "keyroll.dev/internal/kube/fake"
)

func TestDigest(t *testing.T) {
	base := map[string][]byte{"a": []byte("1"), "b": []byte("2")}
	tests := map[string]struct {
		key  string
		data map[string][]byte
		same bool
	}{
		"the same data":                              {"k", map[string][]byte{"b": []byte("2"), "a": []byte("1")}, true},
		"another key of the installation":            {"other", base, false},
		"another value":                              {"k", map[string][]byte{"a": []byte("1"), "b": []byte("3")}, false},
		"a missing entry":                            {"k", map[string][]byte{"a": []byte("1")}, false},
		"no data":                                    {"k", nil, false},
		"the same bytes, cut at other places":        {"k", map[string][]byte{"a": []byte("1b2")}, false},
		"values that have changed their places":      {"k", map[string][]byte{"a": []byte("2"), "b": []byte("1")}, false},
		"an entry more whose value is the next part": {"k", map[string][]byte{"a": []byte("1"), "b": []byte("2"), "c": nil}, false},
	}
	want := digester{key: []byte("k")}.digest(base)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := digester{key: []byte(test.key)}.digest(test.data)
			if (got == want) != test.same {
				t.Errorf("digests are the same: %t, want %t", got == want, test.same)
			}
		})
	}
}

func TestASecretsViewHoldsNoData(t *testing.T) {
	s := managedSecret("app-secrets", "correct horse")
	s.Annotations = map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "correct horse"}
	at := metav1.NewTime(noon)
	s.ManagedFields = []metav1.ManagedFieldsEntry{{Time: &at}, {}}
	got := digester{key: []byte("k")}.slim(s)
	want := &secret{ObjectMeta: identity(&s.ObjectMeta), digest: digester{key: []byte("k")}.digest(s.Data), changed: noon}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(secret{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if text := fmt.Sprintf("%+v", got); strings.Contains(text, "horse") {
		t.Errorf("view %s holds data", text)
	}
}

func TestTheInstallationKeyIsMadeOnce(t *testing.T) {
	client := fake.NewClientset()
	first, err := installationKey(t.Context(), kubefake.New(client), "keyroll-system")
	if err != nil {
		t.Fatal(err)
	}
	second, err := installationKey(t.Context(), kubefake.New(client), "keyroll-system")
	if err != nil {
		t.Fatal(err)
	}
	if len(first.key) != keySize || !bytes.Equal(first.key, second.key) {
		t.Errorf("keys of %d and %d bytes, equal: %t", len(first.key), len(second.key), bytes.Equal(first.key, second.key))
	}
}

func TestReplicasThatStartTogetherShareAKey(t *testing.T) {
	client := fake.NewClientset()
	theirs := bytes.Repeat([]byte("k"), keySize)
	client.PrependReactor("create", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		other := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "keyroll-system", Name: keySecret}, Data: map[string][]byte{keyData: theirs}}
		if err := client.Tracker().Add(other); err != nil {
			t.Fatal(err)
		}
		return true, nil, apierrors.NewAlreadyExists(corev1.Resource("secrets"), keySecret)
	})
	got, err := installationKey(t.Context(), kubefake.New(client), "keyroll-system")
	if err != nil || !bytes.Equal(got.key, theirs) {
		t.Errorf("key %q, error %v, want the other replica's", got.key, err)
	}
}

func TestAKeyThatIsNoneIsAnError(t *testing.T) {
	client := fake.NewClientset(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "keyroll-system", Name: keySecret}})
	if _, err := installationKey(t.Context(), kubefake.New(client), "keyroll-system"); err == nil {
		t.Error("an empty Secret is taken for a key")
	}
}
