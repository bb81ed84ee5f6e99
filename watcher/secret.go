package watcher

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"keyroll.dev/internal/kube"
	"keyroll.dev/watcher/reloader"
)

// secret is the view of a Secret that the driver fills: its identity and a
// keyed digest of its data. The data itself is never kept.
type secret struct {
	metav1.ObjectMeta

	digest  string
	changed time.Time // the latest change of anything in it, zero where unknown
	marks   reloader.Marks
}

// digester turns data into digests that mean nothing without the key, so that
// one which leaks, or is compared with a digest of guessed values, tells nothing.
type digester struct {
	key []byte
}

func (d digester) slim(s *corev1.Secret) *secret {
	slim := &secret{ObjectMeta: identity(&s.ObjectMeta), digest: d.digest(s.Data), marks: reloader.MarksOf(s.Annotations)}
	for _, entry := range s.ManagedFields {
		if entry.Time != nil && entry.Time.After(slim.changed) {
			slim.changed = entry.Time.Time
		}
	}
	return slim
}

// digest is HMAC-SHA256 over the entries in order, each part with its length in
// front, so that no two contents share their bytes.
func (d digester) digest(data map[string][]byte) string {
	mac := hmac.New(sha256.New, d.key)
	part := func(b []byte) {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(b)))
		mac.Write(length[:])
		mac.Write(b)
	}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		part([]byte(key))
		part(data[key])
	}
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// name tells keys apart and tells nothing of the key. A key that is not there has no name.
func (d *digester) name() string {
	if d == nil {
		return ""
	}
	return d.digest(map[string][]byte{"name": nil})[:8]
}

// The installation key: one Secret of the release namespace.
const (
	keySecret = "keyroll-watcher-key"
	keyData   = "key"
	keySize   = 32
)

// installationKey reads the key, making it if this is the first start. Another
// replica may make it at the same time: whoever comes second takes what is there.
func installationKey(ctx context.Context, client *kube.Client, namespace string) (digester, error) {
	secrets := client.Secrets(namespace)
	for {
		found, err := secrets.Get(ctx, keySecret, metav1.GetOptions{})
		if err == nil {
			key := found.Data[keyData]
			if len(key) < keySize {
				return digester{}, fmt.Errorf("digest key in Secret %s/%s is not %d bytes under %q: delete the Secret to have a new one made",
					namespace, keySecret, keySize, keyData)
			}
			return digester{key: key}, nil
		}
		if !apierrors.IsNotFound(err) {
			return digester{}, fmt.Errorf("read the digest key: %w", err)
		}
		key := make([]byte, keySize)
		if _, err := rand.Read(key); err != nil {
			return digester{}, fmt.Errorf("make a digest key: %w", err)
		}
		_, err = secrets.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: keySecret, Namespace: namespace, Labels: map[string]string{"app.kubernetes.io/managed-by": "keyroll-watcher"}},
			Data:       map[string][]byte{keyData: key},
		}, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return digester{}, fmt.Errorf("store the digest key: %w", err)
		}
	}
}
