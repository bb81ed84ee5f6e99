package watcher

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"
)

// view is a cached stand-in for an API object: what decisions need of it and
// nothing else. Views are never changed once they are in a cache.
type view interface {
	comparable
	metav1.ObjectMetaAccessor
}

// store is an informer whose cache holds views of type T. The zero store is
// empty and is never watched.
type store[T view] struct {
	informer cache.SharedIndexInformer
}

// newStore makes the informer of one resource. slim turns an object as the API
// server sends it into its view, before anything else sees it, so that the
// parts that are left out are never held in memory.
func newStore[O runtime.Object, T view](lw cache.ListerWatcher, object O, slim func(O) T, indexers cache.Indexers) store[T] {
	informer := cache.NewSharedIndexInformerWithOptions(lw, object, cache.SharedIndexInformerOptions{Indexers: indexers})
	err := informer.SetTransform(func(raw any) (any, error) {
		switch o := raw.(type) {
		case T: // a list that was streamed passes here twice
			return o, nil
		case O:
			return slim(o), nil
		default:
			return nil, fmt.Errorf("informer of %T received %T", object, raw)
		}
	})
	if err != nil { // only an informer that runs already refuses
		panic(err)
	}
	return store[T]{informer}
}

// get answers the view by namespace and name; the zero value when there is none.
func (s store[T]) get(namespace, name string) T {
	var none T
	if s.informer == nil {
		return none
	}
	raw, found, err := s.informer.GetIndexer().GetByKey(cache.NewObjectName(namespace, name).String())
	if err != nil || !found {
		return none
	}
	return raw.(T)
}

// by answers the views that an index files under value.
func (s store[T]) by(index, value string) []T {
	if s.informer == nil {
		return nil
	}
	found, err := s.informer.GetIndexer().ByIndex(index, value)
	if err != nil { // an index that was never declared: a mistake of this package
		panic(err)
	}
	views := make([]T, len(found))
	for i, raw := range found {
		views[i] = raw.(T)
	}
	return views
}

// all answers every view of the cache.
func (s store[T]) all() []T {
	if s.informer == nil {
		return nil
	}
	found := s.informer.GetIndexer().List()
	views := make([]T, len(found))
	for i, raw := range found {
		views[i] = raw.(T)
	}
	return views
}

// watch calls changed for everything that appears (before is zero), changes,
// or goes (after is zero), in order, from one goroutine per informer. What it
// answers tells whether changed was called for all that was there at the start.
func (s store[T]) watch(changed func(before, after T)) cache.InformerSynced {
	var none T
	registration, err := s.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(raw any) { changed(none, raw.(T)) },
		UpdateFunc: func(before, after any) { changed(before.(T), after.(T)) },
		DeleteFunc: func(raw any) {
			if last, ok := raw.(cache.DeletedFinalStateUnknown); ok {
				raw = last.Obj
			}
			if gone, ok := raw.(T); ok {
				changed(gone, none)
			}
		},
	})
	if err != nil { // only an informer that has stopped refuses
		panic(err)
	}
	return registration.HasSynced
}

// identity is the part of an object's metadata that every view keeps.
func identity(m *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name:              m.Name,
		Namespace:         shared(m.Namespace),
		UID:               m.UID,
		ResourceVersion:   m.ResourceVersion,
		Generation:        m.Generation,
		CreationTimestamp: m.CreationTimestamp,
		DeletionTimestamp: m.DeletionTimestamp,
	}
}

// indexed makes an index function from one that reads a view.
func indexed[T view](values func(T) []string) cache.IndexFunc {
	return func(raw any) ([]string, error) { return values(raw.(T)), nil }
}

// keep answers the entries of from whose keys wanted accepts; nil for none.
func keep(from map[string]string, wanted func(key string) bool) map[string]string {
	var kept map[string]string
	for key, value := range from {
		if !wanted(key) {
			continue
		}
		if kept == nil {
			kept = map[string]string{}
		}
		kept[shared(key)] = shared(value)
	}
	return kept
}
