package secretsstore

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"keyroll.dev/internal/jsonread"
)

// readStatus reads a status. It is false where the text is none, or is not as it should be.
func readStatus(text []byte) (*SecretProviderClassPodStatus, bool) {
	s := &SecretProviderClassPodStatus{}
	err := jsonread.Read(text, func(r *jsonread.Reader) {
		r.Object(func(name []byte) {
			switch string(name) {
			case "apiVersion":
				r.String(&s.APIVersion)
			case "kind":
				r.String(&s.Kind)
			case "metadata":
				readMeta(r, &s.ObjectMeta)
			case "status":
				s.Status.read(r)
			default:
				r.Skip()
			}
		})
	})
	return s, err == nil && s.GroupVersionKind() == PodStatusKind
}

// readMeta reads the metadata that [PodStatuses] promises.
func readMeta(r *jsonread.Reader, m *metav1.ObjectMeta) {
	r.Object(func(name []byte) {
		switch string(name) {
		case "name":
			r.String(&m.Name)
		case "namespace":
			r.String(&m.Namespace)
		case "uid":
			r.String((*string)(&m.UID))
		case "resourceVersion":
			r.String(&m.ResourceVersion)
		case "generation":
			r.Int(&m.Generation)
		case "creationTimestamp":
			readTime(r, &m.CreationTimestamp)
		case "annotations":
			r.Strings(&m.Annotations, nil)
		case "ownerReferences":
			jsonread.List(r, &m.OwnerReferences, func(o *metav1.OwnerReference) { readOwner(r, o) })
		case "managedFields":
			jsonread.List(r, &m.ManagedFields, func(e *metav1.ManagedFieldsEntry) { readManager(r, e) })
		default:
			r.Skip()
		}
	})
}

func readOwner(r *jsonread.Reader, o *metav1.OwnerReference) {
	r.Object(func(name []byte) {
		switch string(name) {
		case "kind":
			r.String(&o.Kind)
		case "uid":
			r.String((*string)(&o.UID))
		default:
			r.Skip()
		}
	})
}

func readManager(r *jsonread.Reader, e *metav1.ManagedFieldsEntry) {
	r.Object(func(name []byte) {
		switch string(name) {
		case "manager":
			r.String(&e.Manager)
		case "operation":
			r.String((*string)(&e.Operation))
		case "time":
			jsonread.Pointer(r, &e.Time, func(t *metav1.Time) { readTime(r, t) })
		default:
			r.Skip()
		}
	})
}

// readTime reads a time as metav1.Time is written.
func readTime(r *jsonread.Reader, t *metav1.Time) {
	if r.Null() {
		*t = metav1.Time{}
		return
	}
	var text string
	r.String(&text)
	parsed, err := time.Parse(time.RFC3339, text)
	if err != nil {
		r.Fail(err)
		return
	}
	*t = metav1.NewTime(parsed.Local())
}

func (s *SecretProviderClassPodStatusStatus) read(r *jsonread.Reader) {
	r.Object(func(name []byte) {
		switch string(name) {
		case "podName":
			r.String(&s.PodName)
		case "secretProviderClassName":
			r.String(&s.SecretProviderClassName)
		case "mounted":
			r.Bool(&s.Mounted)
		case "targetPath":
			r.String(&s.TargetPath)
		case "objects":
			jsonread.List(r, &s.Objects, func(o *SecretProviderClassObject) { o.read(r) })
		default:
			r.Skip()
		}
	})
}

func (o *SecretProviderClassObject) read(r *jsonread.Reader) {
	r.Object(func(name []byte) {
		switch string(name) {
		case "id":
			r.String(&o.ID)
		case "version":
			r.String(&o.Version)
		default:
			r.Skip()
		}
	})
}
