package watcher

import (
	"unique"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// shared answers a string equal to s that all who ask for it share: what many
// objects name alike, such as their namespace, is held once.
func shared[S ~string](s S) S { return S(unique.Make(string(s)).Value()) }

// object is the identity that the views of pods and statuses keep, of which
// there are so many that the empty fields of an ObjectMeta would be a third of
// all memory.
type object struct {
	Namespace         string
	Name              string
	UID               types.UID
	ResourceVersion   string
	Generation        int64
	CreationTimestamp metav1.Time
}

func objectOf(m *metav1.ObjectMeta) object {
	return object{
		Namespace:         shared(m.Namespace),
		Name:              m.Name,
		UID:               m.UID,
		ResourceVersion:   m.ResourceVersion,
		Generation:        m.Generation,
		CreationTimestamp: m.CreationTimestamp,
	}
}

// GetObjectMeta is how informers read a view.
func (o *object) GetObjectMeta() metav1.Object {
	m := o.meta()
	return &m
}

func (o *object) meta() metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace:         o.Namespace,
		Name:              o.Name,
		UID:               o.UID,
		ResourceVersion:   o.ResourceVersion,
		Generation:        o.Generation,
		CreationTimestamp: o.CreationTimestamp,
	}
}
