// Package fake serves the driver's resources from memory, for tests of code
// that takes a [secretsstore.Client]. The returned tracker changes what is
// served, as the driver would; the returned Fake records what was asked.
package fake

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/gentype"
	"k8s.io/client-go/testing"
	"keyroll.dev/internal/secretsstore"
)

// New returns a client over objects held in memory.
func New(objects ...runtime.Object) (*secretsstore.Client, *testing.Fake, testing.ObjectTracker) {
	scheme := runtime.NewScheme()
	if err := secretsstore.AddToScheme(scheme); err != nil {
		panic(fmt.Sprintf("register the driver's types: %v", err))
	}
	tracker := testing.NewObjectTracker(scheme, serializer.NewCodecFactory(scheme).UniversalDecoder())
	for _, o := range objects {
		if err := tracker.Add(o); err != nil {
			panic(fmt.Sprintf("add %T: %v", o, err))
		}
	}
	fake := &testing.Fake{}
	fake.AddReactor("*", "*", testing.ObjectReaction(tracker))
	fake.AddWatchReactor("*", watchReaction(tracker))
	client := secretsstore.NewClientFrom(
		func(namespace string) secretsstore.Classes {
			return gentype.NewFakeClientWithList(fake, namespace, secretsstore.ClassResource, secretsstore.ClassKind,
				func() *secretsstore.SecretProviderClass { return &secretsstore.SecretProviderClass{} },
				func() *secretsstore.SecretProviderClassList { return &secretsstore.SecretProviderClassList{} },
				func(to, from *secretsstore.SecretProviderClassList) { to.ListMeta = from.ListMeta },
				func(l *secretsstore.SecretProviderClassList) []*secretsstore.SecretProviderClass {
					return gentype.ToPointerSlice(l.Items)
				},
				func(l *secretsstore.SecretProviderClassList, items []*secretsstore.SecretProviderClass) {
					l.Items = gentype.FromPointerSlice(items)
				})
		},
		func(namespace string) secretsstore.PodStatuses {
			return gentype.NewFakeClientWithList(fake, namespace, secretsstore.PodStatusResource, secretsstore.PodStatusKind,
				func() *secretsstore.SecretProviderClassPodStatus { return &secretsstore.SecretProviderClassPodStatus{} },
				func() *secretsstore.SecretProviderClassPodStatusList {
					return &secretsstore.SecretProviderClassPodStatusList{}
				},
				func(to, from *secretsstore.SecretProviderClassPodStatusList) { to.ListMeta = from.ListMeta },
				func(l *secretsstore.SecretProviderClassPodStatusList) []*secretsstore.SecretProviderClassPodStatus {
					return gentype.ToPointerSlice(l.Items)
				},
				func(l *secretsstore.SecretProviderClassPodStatusList, items []*secretsstore.SecretProviderClassPodStatus) {
					l.Items = gentype.FromPointerSlice(items)
				})
		},
		unstreamed{})
	return client, fake, tracker
}

// unstreamed tells informers that lists cannot be streamed from the tracker.
type unstreamed struct{}

func (unstreamed) IsWatchListSemanticsUnSupported() bool { return true }

func watchReaction(tracker testing.ObjectTracker) testing.WatchReactionFunc {
	return func(action testing.Action) (bool, watch.Interface, error) {
		var opts metav1.ListOptions
		if w, ok := action.(testing.WatchActionImpl); ok {
			opts = w.ListOptions
		}
		w, err := tracker.Watch(action.GetResource(), action.GetNamespace(), opts)
		return err == nil, w, err
	}
}
