package world

import (
	"context"
	"errors"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"keyroll.dev/e2e/driver"
)

// sightings remember since when each key of the Secrets that the driver fills
// has had its values, by the clock of the test.
type sightings struct {
	mu   sync.Mutex
	seen map[string][]sighting // by namespace, Secret and key, in order
}

type sighting struct {
	value string
	since time.Time // zero: from the beginning
}

// watchSecrets watches until ctx ends, and returns when it has seen what is there.
func watchSecrets(ctx context.Context, client kubernetes.Interface) (*sightings, error) {
	s := &sightings{seen: map[string][]sighting{}}
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.LabelSelector = driver.ManagedLabel + "=true"
	}))
	informer := factory.Core().V1().Secrets().Informer()
	handler, err := informer.AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(o any, first bool) {
			if first {
				s.note(o.(*corev1.Secret), time.Time{})
			} else {
				s.note(o.(*corev1.Secret), time.Now())
			}
		},
		UpdateFunc: func(_, o any) { s.note(o.(*corev1.Secret), time.Now()) },
	})
	if err != nil {
		return nil, err
	}
	factory.StartWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), handler.HasSynced) {
		return nil, errors.New("the Secrets cannot be watched")
	}
	return s, nil
}

func (s *sightings) note(secret *corev1.Secret, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, value := range secret.Data {
		of := secret.Namespace + "/" + secret.Name + "/" + key
		if seen := s.seen[of]; len(seen) == 0 || seen[len(seen)-1].value != string(value) {
			s.seen[of] = append(seen, sighting{string(value), now})
		}
	}
}

// environment concludes what a container that started then has from Secrets.
// Starts are told in whole seconds.
func (s *sightings) environment(pod *corev1.Pod, container string, startedAt time.Time) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	env := map[string]string{}
	for _, c := range pod.Spec.Containers {
		if c.Name != container {
			continue
		}
		for _, e := range c.Env {
			if e.ValueFrom == nil || e.ValueFrom.SecretKeyRef == nil {
				continue
			}
			ref := e.ValueFrom.SecretKeyRef
			for _, seen := range s.seen[pod.Namespace+"/"+ref.Name+"/"+ref.Key] {
				if !seen.since.Truncate(time.Second).After(startedAt) {
					env[e.Name] = seen.value
				}
			}
		}
	}
	return env
}
