package secretsstore_test

import (
	"context"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"

	"keyroll.dev/internal/secretsstore"
	"keyroll.dev/internal/secretsstore/fake"
)

// The informers hold what there is, follow what comes, and index both by
// namespace and by what they are given.
func TestInformersFollow(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	class := &secretsstore.SecretProviderClass{ObjectMeta: metav1.ObjectMeta{Name: "akv", Namespace: "shop"}}
	first := status()
	client, served, tracker := fake.New(class, &first)
	// What comes between an informer's list and its watch is lost in a fake.
	watched := make(chan struct{})
	once := sync.OnceFunc(func() { close(watched) })
	served.PrependWatchReactor(secretsstore.PodStatusResource.Resource, func(a clienttesting.Action) (bool, watch.Interface, error) {
		w, err := tracker.Watch(a.GetResource(), a.GetNamespace())
		once()
		return true, w, err
	})

	byClass := func(o any) ([]string, error) {
		return []string{o.(*secretsstore.SecretProviderClassPodStatus).Status.SecretProviderClassName}, nil
	}
	classes := client.NewClassInformer("")
	statuses := cache.NewSharedIndexInformer(client.PodStatusListWatch(""), &secretsstore.SecretProviderClassPodStatus{}, 0, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc, "class": byClass})
	came := make(chan string, 10)
	if _, err := statuses.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(o any) {
		came <- o.(*secretsstore.SecretProviderClassPodStatus).Name
	}}); err != nil {
		t.Fatal(err)
	}
	go classes.Run(ctx.Done())
	go statuses.Run(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), classes.HasSynced, statuses.HasSynced) {
		t.Fatal("caches did not fill")
	}
	if got, err := classes.GetIndexer().ByIndex(cache.NamespaceIndex, "shop"); err != nil || len(got) != 1 {
		t.Errorf("classes in the namespace: %v, %v", got, err)
	}

	<-watched
	second := status()
	second.Name, second.Namespace = "other", "bakery"
	if err := tracker.Add(&second); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{first.Name, second.Name} {
		if got := <-came; got != want {
			t.Errorf("%s came, want %s", got, want)
		}
	}
	if got, err := statuses.GetIndexer().ByIndex("class", "akv"); err != nil || len(got) != 2 {
		t.Errorf("statuses of the class: %v, %v", got, err)
	}
	if got, err := statuses.GetIndexer().ByIndex(cache.NamespaceIndex, "bakery"); err != nil || len(got) != 1 {
		t.Errorf("statuses of the other namespace: %v, %v", got, err)
	}
}

func TestFakeServesWhatIsWritten(t *testing.T) {
	ctx := context.Background()
	client, recorded, _ := fake.New()
	class := &secretsstore.SecretProviderClass{ObjectMeta: metav1.ObjectMeta{Name: "akv", Namespace: "shop"}}
	if _, err := client.Classes("shop").Create(ctx, class, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	class.Spec.Provider = secretsstore.ProviderAzure
	if _, err := client.Classes("shop").Update(ctx, class, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := client.Classes("shop").Get(ctx, "akv", metav1.GetOptions{})
	if err != nil || got.Spec.Provider != secretsstore.ProviderAzure {
		t.Errorf("got %+v, %v", got, err)
	}
	list, err := client.Classes("").List(ctx, metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 {
		t.Errorf("list %+v, %v", list, err)
	}
	var verbs []string
	for _, a := range recorded.Actions() {
		verbs = append(verbs, a.GetVerb())
	}
	if len(verbs) != 4 || verbs[0] != "create" || verbs[1] != "update" {
		t.Errorf("recorded %v", verbs)
	}
}
