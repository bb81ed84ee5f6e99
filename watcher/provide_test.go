package watcher

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	metadatafake "k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"

	"keyroll.dev/internal/annotation"
	"keyroll.dev/internal/dependency"
	"keyroll.dev/internal/secretsstore"
)

// classesOf answers the generated classes that exist.
func (c *cluster) classesOf() map[string]secretsstore.SecretProviderClassSpec {
	c.t.Helper()
	list, err := c.controller.config.Driver.Classes(shop).List(c.t.Context(), metav1.ListOptions{})
	c.must(err)
	specs := map[string]secretsstore.SecretProviderClassSpec{}
	for _, class := range list.Items {
		specs[class.Name] = class.Spec
	}
	return specs
}

func asking(objects string) *appsv1.Deployment {
	return deployment(func(d *appsv1.Deployment) {
		d.Spec.Template.Annotations = map[string]string{
			annotation.Objects: objects, annotation.ClientID: "22222222-2222-2222-2222-222222222222",
		}
	})
}

func TestAClassIsProvidedHealedAndCollected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, []runtime.Object{enabledNamespace(), asking("db-password")})
		defer c.stop()
		time.Sleep(time.Second)
		created := c.classesOf()
		if len(created) != 1 {
			t.Fatalf("classes %v, want one", created)
		}
		var name string
		for name = range created {
		}
		classes := c.controller.config.Driver.Classes(shop)

		edited, err := classes.Get(t.Context(), name, metav1.GetOptions{})
		c.must(err)
		edited.Spec.Parameters["keyvaultName"] = "another"
		_, err = classes.Update(t.Context(), edited, metav1.UpdateOptions{})
		c.must(err)
		time.Sleep(time.Second)
		if diff := cmp.Diff(created, c.classesOf()); diff != "" {
			t.Errorf("after an edit (-want +got)\n%s", diff)
		}

		c.must(classes.Delete(t.Context(), name, metav1.DeleteOptions{}))
		time.Sleep(time.Second)
		if diff := cmp.Diff(created, c.classesOf()); diff != "" {
			t.Errorf("after a deletion (-want +got)\n%s", diff)
		}

		c.must(c.kube.AppsV1().Deployments(shop).Delete(t.Context(), "web", metav1.DeleteOptions{}))
		time.Sleep(59 * time.Minute)
		if len(c.classesOf()) != 1 {
			t.Error("the class went before its retention")
		}
		time.Sleep(2 * time.Minute)
		if left := c.classesOf(); len(left) != 0 {
			t.Errorf("classes %v are left after the retention", left)
		}
	})
}

func TestWhatKeepsAClass(t *testing.T) {
	record := dependency.Record{V: dependency.Version, Vault: "shop-kv", Objects: []string{"secret/db-password"}, ClientID: "22222222-2222-2222-2222-222222222222", TenantID: "11111111-1111-1111-1111-111111111111"}
	record.SecretProviderClass = record.ClassName()
	tests := map[string]struct {
		objects []runtime.Object
		want    bool
	}{
		"nothing":                          {nil, false},
		"a status of the driver":           {[]runtime.Object{podStatus("gone", record.ClassName(), "v1", 1, noon)}, true},
		"a pod that mounts it":             {[]runtime.Object{injectedPod("some", "web-1", record.ClassName())}, true},
		"not being Keyroll's":              {[]runtime.Object{foreign(record.Class(shop))}, true},
		"not being named as Keyroll names": {[]runtime.Object{renamed(record.Class(shop), "mine")}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				objects := append([]runtime.Object{enabledNamespace()}, test.objects...)
				if len(test.objects) == 0 || !isClass(test.objects[0]) {
					objects = append(objects, record.Class(shop))
				}
				c := start(t, objects)
				defer c.stop()
				time.Sleep(2 * time.Hour)
				if kept := len(c.classesOf()) == 1; kept != test.want {
					t.Errorf("kept %t, want %t", kept, test.want)
				}
			})
		})
	}
}

func isClass(o runtime.Object) bool {
	_, is := o.(*secretsstore.SecretProviderClass)
	return is
}

func foreign(c *secretsstore.SecretProviderClass) *secretsstore.SecretProviderClass {
	c.Labels = nil
	return c
}

func renamed(c *secretsstore.SecretProviderClass, name string) *secretsstore.SecretProviderClass {
	c.Name = name
	return c
}

func TestAPodsRecordIsBelievedOnlyWhereItMayBe(t *testing.T) {
	record := dependency.Record{V: dependency.Version, Vault: "shop-kv", Objects: []string{"secret/db-password"}, ClientID: "22222222-2222-2222-2222-222222222222", TenantID: "11111111-1111-1111-1111-111111111111"}
	record.SecretProviderClass = record.ClassName()
	recorded := func(text string) *corev1.Pod {
		p := injectedPod("job-a", "none", record.ClassName())
		p.OwnerReferences = nil
		p.Annotations[annotation.Dependencies] = text
		return p
	}
	otherVault := enabledNamespace()
	otherVault.Annotations[annotation.AllowedVaults] = "other-kv"
	tests := map[string]struct {
		namespace   *corev1.Namespace
		pod         *corev1.Pod
		wantClass   bool
		wantWarning bool
	}{
		"a record in an opted-in namespace":   {enabledNamespace(), recorded(record.Encode()), true, false},
		"a namespace that is not opted in":    {&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: shop}}, recorded(record.Encode()), false, false},
		"a vault that is not allowed":         {otherVault, recorded(record.Encode()), false, true},
		"another content under the same name": {enabledNamespace(), recorded(strings.Replace(record.Encode(), "shop-kv", "evil-kv", 1)), false, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := start(t, []runtime.Object{test.namespace, test.pod})
				defer c.stop()
				time.Sleep(time.Minute)
				if made := len(c.classesOf()) == 1; made != test.wantClass {
					t.Errorf("class made: %t, want %t", made, test.wantClass)
				}
				var want []string
				if test.wantWarning {
					want = []string{"Warning DependenciesNotBelieved Pod/job-a"}
				}
				if diff := cmp.Diff(want, c.events()); diff != "" {
					t.Errorf("events (-want +got)\n%s", diff)
				}
			})
		})
	}
}

func TestANamespaceThatComesAfterItsPodsMakesTheirClasses(t *testing.T) {
	record := dependency.Record{V: dependency.Version, Vault: "shop-kv", Objects: []string{"secret/db-password"}, ClientID: "22222222-2222-2222-2222-222222222222", TenantID: "11111111-1111-1111-1111-111111111111"}
	record.SecretProviderClass = record.ClassName()
	otherVault := enabledNamespace()
	otherVault.Annotations[annotation.AllowedVaults] = "other-kv"
	for name, before := range map[string]*corev1.Namespace{
		"its label":     {ObjectMeta: metav1.ObjectMeta{Name: shop}},
		"allowed vault": otherVault,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := injectedPod("job-a", "none", record.ClassName())
				controlledBy(&p.ObjectMeta, schema.GroupVersionKind{Group: "batch", Version: "v1", Kind: "Job"}, "job")
				p.Annotations[annotation.Dependencies] = record.Encode()
				c := start(t, []runtime.Object{before, p})
				defer c.stop()
				time.Sleep(time.Minute)
				if got := len(c.classesOf()); got != 0 {
					t.Fatalf("%d classes were made before", got)
				}
				_, err := c.kube.CoreV1().Namespaces().Update(t.Context(), enabledNamespace(), metav1.UpdateOptions{})
				c.must(err)
				time.Sleep(time.Second)
				if got := len(c.classesOf()); got != 1 {
					t.Errorf("%d classes, want that of the pod", got)
				}
			})
		})
	}
}

func TestASecretThatBelongsToSomebodyElseWithholdsTheClass(t *testing.T) {
	const client = "22222222-2222-2222-2222-222222222222"
	named := func(name, objects string, age time.Duration) *appsv1.Deployment {
		return deployment(func(d *appsv1.Deployment) {
			d.Name, d.UID = name, types.UID(name+"-uid")
			d.CreationTimestamp = metav1.NewTime(noon.Add(-age))
			d.Spec.Template.Annotations = map[string]string{
				annotation.Objects: objects, annotation.ClientID: client, annotation.Secret: "shared",
			}
		})
	}
	own := syncingClass("by-hand", "shared")
	before := syncingClass(dependency.ClassPrefix+"before", "shared")
	before.Labels = map[string]string{dependency.ManagedByLabel: dependency.ManagedBy}
	tests := map[string]struct {
		objects    []runtime.Object
		unmanaged  bool
		blind      bool
		wantMade   int
		wantEvents []string
	}{
		"nobody has it":                  {objects: []runtime.Object{named("web", "a", 0)}, wantMade: 1},
		"two workloads ask for the same": {objects: []runtime.Object{named("web", "a", 0), named("api", "a", 0)}, wantMade: 1},
		"two workloads ask for different ones": {
			objects:    []runtime.Object{named("new", "a", 0), named("old", "b", time.Hour)},
			wantMade:   1,
			wantEvents: []string{"Warning SecretProviderClassWithheld Deployment/new"},
		},
		"a class of the user's own fills it": {
			objects:    []runtime.Object{named("web", "a", 0), own},
			wantMade:   1,
			wantEvents: []string{"Warning SecretProviderClassWithheld Deployment/web"},
		},
		"a Secret that the driver does not fill": {
			objects:    []runtime.Object{named("web", "a", 0)},
			unmanaged:  true,
			wantEvents: []string{"Warning SecretProviderClassWithheld Deployment/web"},
		},
		"a Secret that the driver fills": {objects: []runtime.Object{named("web", "a", 0), managedSecret("shared", "x")}, wantMade: 1},
		"a Secret that nobody may look for": {
			objects:    []runtime.Object{named("web", "a", 0)},
			blind:      true,
			wantEvents: []string{"Warning SecretProviderClassWithheld Deployment/web"},
		},
		"a Secret that nobody may look for, and a class of ours has filled": {
			objects:  []runtime.Object{named("web", "a", 0), before},
			blind:    true,
			wantMade: 2,
		},
		"a generated name that nobody may look for": {
			objects: []runtime.Object{deployment(func(d *appsv1.Deployment) {
				d.Spec.Template.Annotations = map[string]string{
					annotation.Objects: "a", annotation.ClientID: client, annotation.Env: "A=a",
				}
			})},
			blind:    true,
			wantMade: 1,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := start(t, append([]runtime.Object{enabledNamespace()}, test.objects...), func(config *Config) {
					config.SecretTrigger = !test.blind
					if test.unmanaged {
						there := &metav1.PartialObjectMetadata{ObjectMeta: meta("shared")}
						there.APIVersion, there.Kind = "v1", "Secret"
						scheme := metadatafake.NewTestScheme()
						if err := metav1.AddMetaToScheme(scheme); err != nil {
							t.Fatal(err)
						}
						config.Metadata = metadatafake.NewSimpleMetadataClient(scheme, there)
					}
				})
				defer c.stop()
				time.Sleep(5 * time.Minute)
				if got := len(c.classesOf()); got != test.wantMade {
					t.Errorf("%d classes, want %d: %v", got, test.wantMade, c.classesOf())
				}
				if diff := cmp.Diff(test.wantEvents, c.events()); diff != "" {
					t.Errorf("events (-want +got)\n%s", diff)
				}
			})
		})
	}
}

// An alert counts on it: what is counted once has not grown a quarter of an hour later.
func TestAClassIsCountedAsWithheldForAsLongAsItIs(t *testing.T) {
	tests := map[string]func(*secretsstore.SecretProviderClass) *secretsstore.SecretProviderClass{
		"its name is taken":   foreign,
		"its Secret is taken": func(c *secretsstore.SecretProviderClass) *secretsstore.SecretProviderClass { return renamed(c, "own") },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := asking("a")
				d.Spec.Template.Annotations[annotation.Secret] = "shared"
				record := dependency.Record{
					V: dependency.Version, Vault: "shop-kv", Objects: []string{"secret/a"}, Secret: "shared",
					ClientID: "22222222-2222-2222-2222-222222222222", TenantID: "11111111-1111-1111-1111-111111111111",
				}
				record.SecretProviderClass = record.ClassName()
				c := start(t, []runtime.Object{enabledNamespace(), d, change(record.Class(shop))})
				defer c.stop()
				withheld := func() float64 {
					return testutil.ToFloat64(c.controller.metrics.classes.WithLabelValues(classWithheld))
				}
				time.Sleep(time.Hour)
				before := withheld()
				time.Sleep(15 * time.Minute)
				if grown := withheld() - before; grown == 0 {
					t.Errorf("counted %v times, and no more", before)
				}
			})
		})
	}
}

func TestASecretIsLookedForByNameAndOnlyWhereItIsNamed(t *testing.T) {
	for name, test := range map[string]struct {
		secret string
		want   []string
	}{
		"a Secret of a generated name": {"", nil},
		"a Secret that is named":       {"shared", []string{"metadata.name=shared in shop"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := asking("db-password")
				d.Spec.Template.Annotations[annotation.Env] = "PASSWORD=db-password"
				if test.secret != "" {
					d.Spec.Template.Annotations[annotation.Secret] = test.secret
				}
				client := metadatafake.NewSimpleMetadataClient(metadatafake.NewTestScheme())
				c := start(t, []runtime.Object{enabledNamespace(), d}, func(config *Config) { config.Metadata = client })
				defer c.stop()
				time.Sleep(time.Hour)
				var got []string
				for _, action := range client.Actions() {
					list := action.(clienttesting.ListAction)
					got = append(got, list.GetListRestrictions().Fields.String()+" in "+list.GetNamespace())
				}
				if diff := cmp.Diff(test.want, got); diff != "" || len(c.classesOf()) != 1 {
					t.Errorf("%d classes, Secrets looked for (-want +got)\n%s", len(c.classesOf()), diff)
				}
			})
		})
	}
}

func TestChangedObjectsOfANamedSecretAreNotHeldUpByOlderPods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		with := func(objects string) *appsv1.Deployment {
			d := asking(objects)
			d.Spec.Template.Annotations[annotation.Secret] = "shared"
			return d
		}
		c := start(t, []runtime.Object{enabledNamespace(), with("a")})
		defer c.stop()
		time.Sleep(time.Second)
		var first string
		for first = range c.classesOf() {
		}
		_, err := c.kube.CoreV1().Pods(shop).Create(t.Context(), injectedPod("web-1-a", "web-1", first), metav1.CreateOptions{})
		c.must(err)
		changed := with("a,b")
		changed.Generation = 2
		_, err = c.kube.AppsV1().Deployments(shop).Update(t.Context(), changed, metav1.UpdateOptions{})
		c.must(err)
		time.Sleep(time.Second)
		if got := c.classesOf(); len(got) != 2 {
			t.Errorf("%d classes, want the older pod's and the new one", len(got))
		}
	})
}
