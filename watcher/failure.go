package watcher

import (
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"keyroll.dev/internal/secretsstore"
)

// mountFailure is the view of an Event by which kubelet says that it cannot
// mount a volume of a pod.
type mountFailure struct {
	metav1.ObjectMeta

	pod     types.UID
	podName string
	text    string // what of it concerns Key Vault, "" for nothing
}

func slimMountFailure(e *corev1.Event) *mountFailure {
	return &mountFailure{
		ObjectMeta: identity(&e.ObjectMeta), pod: e.InvolvedObject.UID, podName: e.InvolvedObject.Name, text: failureText(e.Message),
	}
}

func podOfFailure(f *mountFailure) []string {
	if f.text == "" {
		return nil
	}
	return []string{string(f.pod)}
}

// The Azure provider's words for an object that it could not get, and Azure's
// code in the answer that it quotes (provider v1.8.2 pkg/provider/provider.go).
var (
	failedObject = regexp.MustCompile(`objectType:\s*(\w+), objectName:\s*([0-9A-Za-z-]+)`)
	failedCode   = regexp.MustCompile(`ERROR CODE: (\w+)`)
)

// missingClass are the driver's words for a class that it does not find (driver v1.6.0
// pkg/secrets-store/nodeserver.go).
const missingClass = "failed to get secretproviderclass"

// maxFailure bounds what is kept of a message that nothing is known of.
const maxFailure = 200

// failureText shortens kubelet's message to what a person needs; "" where the
// volume is not one of the driver's, and where a class is missing: whether it still
// is, is known at once, and kubelet may not ask again for two minutes.
func failureText(message string) string {
	if strings.Contains(message, missingClass) {
		return ""
	}
	object, code := failedObject.FindStringSubmatch(message), failedCode.FindStringSubmatch(message)
	switch {
	case object != nil && code != nil:
		return object[1] + "/" + object[2] + " could not be read: " + code[1]
	case object != nil:
		return object[1] + "/" + object[2] + " could not be read"
	case !strings.Contains(message, secretsstore.DriverName) && !strings.Contains(message, "secrets store"):
		return ""
	}
	if i := strings.LastIndex(message, "rpc error:"); i >= 0 {
		message = message[i:]
	}
	message = strings.Join(strings.Fields(message), " ")
	return strings.ToValidUTF8(message[:min(len(message), maxFailure)], "")
}
