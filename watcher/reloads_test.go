package watcher

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"keyroll.dev/internal/annotation"
	"keyroll.dev/internal/secretsstore"
	"keyroll.dev/watcher/reloader"
	"keyroll.dev/watcher/rollout"
)

// annotated is the Deployment web with annotations; nothing of it is injected.
func annotated(pairs ...string) *appsv1.Deployment {
	return deployment(func(d *appsv1.Deployment) {
		for i := 0; i < len(pairs); i += 2 {
			d.Annotations[pairs[i]] = pairs[i+1]
		}
	})
}

// plainPod is a pod of web that people wrote: it mounts the class files.
func plainPod(change ...func(*corev1.Pod)) *corev1.Pod {
	return injectedPod("web-1-a", "web-1", "files", append([]func(*corev1.Pod){func(p *corev1.Pod) { p.Labels = nil }}, change...)...)
}

// unmounted takes a pod's volume away.
func unmounted(p *corev1.Pod) { p.Spec.Volumes, p.Spec.Containers[0].VolumeMounts = nil, nil }

// elsewhere moves an object into another namespace.
func elsewhere[O metav1.Object](o O) O {
	o.SetNamespace("elsewhere")
	return o
}

// marked is a class with annotations of Reloader's on itself and on its Secret.
func marked(c *secretsstore.SecretProviderClass, on, onSecret map[string]string) *secretsstore.SecretProviderClass {
	c.Annotations = on
	for _, s := range c.Spec.SecretObjects {
		s.Annotations = onSecret
	}
	return c
}

func TestGatherByReloadersAnnotations(t *testing.T) {
	world := func(more ...runtime.Object) []runtime.Object {
		return append([]runtime.Object{replicaSet("web-1", "1"), syncingClass("files", "app-secrets"), managedSecret("app-secrets", "x")}, more...)
	}
	mounts := map[string][]string{"web-1-a": {"files (no status)"}}
	synced := map[string]map[string][]string{"files": {"app-secrets": {"secret/db-password"}}}
	feeds := map[string]int{"files": 0}
	both := toldState{
		Current: []string{"web-1-a"}, Mounts: mounts, Synced: synced, Feeds: feeds,
		Secrets: map[string]rollout.Secret{"app-secrets": {Env: true, Trigger: true}},
	}
	nothing := toldState{Current: []string{"web-1-a"}}
	secretAlone := both
	secretAlone.Mounts = nil
	classAlone := both
	classAlone.Secrets = nil
	secretWaited := both
	secretWaited.Secrets = map[string]rollout.Secret{"app-secrets": {Env: true}}
	tests := map[string]struct {
		objects []runtime.Object
		want    toldState
	}{
		"without an annotation nothing counts":          {world(annotated(), plainPod(envFrom("app-secrets"))), nothing},
		"auto counts all that the pods take":            {world(annotated(reloader.Auto, "true"), plainPod(envFrom("app-secrets"))), both},
		"a class by its name, with its Secret":          {world(annotated(reloader.ClassReload, "other,files"), plainPod(envFrom("app-secrets"))), both},
		"a class by its name, files only":               {world(annotated(reloader.ClassReload, "fil.*"), plainPod()), classAlone},
		"a class that is not mounted by its name":       {world(annotated(reloader.ClassReload, "files"), plainPod(unmounted, envFrom("app-secrets"))), secretAlone},
		"a class that nothing is taken from":            {world(annotated(reloader.ClassReload, "files"), plainPod(unmounted)), nothing},
		"auto for classes needs the mount":              {world(annotated(reloader.ClassAuto, "true"), plainPod(unmounted, envFrom("app-secrets"))), nothing},
		"a Secret by its name, with the mount":          {world(annotated(reloader.SecretReload, "app-secrets"), plainPod(envFrom("app-secrets"))), both},
		"auto for Secrets, with the mount":              {world(annotated(reloader.SecretAuto, "true"), plainPod(envFrom("app-secrets"))), both},
		"search without match counts nothing":           {world(annotated(reloader.Search, "true"), plainPod(envFrom("app-secrets"))), nothing},
		"a workload that says ignore counts nothing":    {world(annotated(reloader.Auto, "true", reloader.Ignore, "true"), plainPod(envFrom("app-secrets"))), nothing},
		"auto where the pods take from nothing":         {world(annotated(reloader.Auto, "true"), plainPod(unmounted)), nothing},
		"auto leaves out Secrets of others":             {world(annotated(reloader.SecretAuto, "true"), plainPod(unmounted, envFrom("by-hand"))), nothing},
		"what is excluded by name does not count":       {world(annotated(reloader.Auto, "true", reloader.ClassExclude, "files", reloader.SecretExclude, "app-secrets"), plainPod(envFrom("app-secrets"))), nothing},
		"a class that is excluded leaves its Secret":    {world(annotated(reloader.Auto, "true", reloader.ClassExclude, "files"), plainPod(envFrom("app-secrets"))), secretAlone},
		"a Secret that is excluded is still waited for": {world(annotated(reloader.Auto, "true", reloader.SecretExclude, "app-secrets"), plainPod(envFrom("app-secrets"))), secretWaited},
		"an exclusion of Reloader's does not narrow our own annotation": {
			world(annotated(annotation.RestartOn, "secret/app-secrets", reloader.ClassExclude, "files", reloader.SecretExclude, "app-secrets"), plainPod(envFrom("app-secrets"))), both,
		},
		"search with match on the Secret": {
			append(world(annotated(reloader.Search, "true"), plainPod(envFrom("app-secrets"))), func() runtime.Object {
				s := managedSecret("app-secrets", "x")
				s.Annotations = map[string]string{reloader.Match: "true"}
				return s
			}()), both,
		},
		"search with match that the class puts on the Secret": {
			append(world(annotated(reloader.Search, "true"), plainPod(envFrom("app-secrets"))),
				marked(syncingClass("files", "app-secrets"), nil, map[string]string{reloader.Match: "true"})), both,
		},
		"search with match on the class": {
			append(world(annotated(reloader.Search, "true"), plainPod()),
				marked(syncingClass("files", "app-secrets"), map[string]string{reloader.Match: "true"}, nil)), classAlone,
		},
		"a class that says ignore": {
			append(world(annotated(reloader.Auto, "true"), plainPod(envFrom("app-secrets"))),
				marked(syncingClass("files", "app-secrets"), map[string]string{reloader.Ignore: "true"}, nil)), secretAlone,
		},
		"a Secret by its name that no pod takes from": {
			world(annotated(reloader.SecretReload, "other,app-secrets"), plainPod(unmounted)),
			toldState{
				Current: []string{"web-1-a"}, Synced: synced, Feeds: feeds,
				Secrets: map[string]rollout.Secret{"app-secrets": {Trigger: true}},
			},
		},
		"what other namespaces have by the names that are asked for": {
			[]runtime.Object{
				annotated(reloader.Search, "true", reloader.SecretReload, "app-secrets,app-.*", reloader.ClassReload, "files,fil.*"), replicaSet("web-1", "1"),
				plainPod(unmounted, envFrom("app-secrets")), elsewhere(marked(syncingClass("files", "app-secrets"), map[string]string{reloader.Match: "true"}, map[string]string{reloader.Match: "true"})),
				elsewhere(managedSecret("app-secrets", "x")),
			}, nothing,
		},
		"a Secret by an expression that no pod takes from": {
			world(annotated(reloader.SecretReload, "app-.*"), plainPod(unmounted)),
			toldState{
				Current: []string{"web-1-a"}, Synced: synced, Feeds: feeds,
				Secrets: map[string]rollout.Secret{"app-secrets": {Trigger: true}},
			},
		},
		"annotations on the template, and a volume that was injected": {
			[]runtime.Object{
				deployment(func(d *appsv1.Deployment) {
					d.Spec.Template.Annotations = map[string]string{reloader.ClassAuto: "true"}
				}),
				replicaSet("web-1", "1"), plainPod(), syncingClass("files", "app-secrets"),
			}, classAlone,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := cached(t, test.objects...)
			w := c.workload(key{deployments.GroupKind(), shop, "web"})
			got := inShort(c.gather(w, func(string, string, string) time.Time { return time.Time{} }))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if got, want := len(c.rolledFor(w)) > 0, test.want.Mounts != nil || test.want.Secrets != nil; got != want {
				t.Errorf("rolls: %t, want %t", got, want)
			}
		})
	}
}

func TestUnhonored(t *testing.T) {
	configMap := func(d *appsv1.Deployment) *appsv1.Deployment {
		d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "app", EnvFrom: []corev1.EnvFromSource{{
			ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "app-config"}},
		}}}}
		return d
	}
	young := func(d *appsv1.Deployment) *appsv1.Deployment {
		d.CreationTimestamp = metav1.NewTime(noon.Add(-20 * time.Second))
		return d
	}
	world := func(d *appsv1.Deployment, more ...runtime.Object) []runtime.Object {
		return append([]runtime.Object{d, replicaSet("web-1", "1"), syncingClass("files", "app-secrets"), managedSecret("app-secrets", "x")}, more...)
	}
	tests := map[string]struct {
		objects []runtime.Object
		want    []string
		wait    time.Duration
	}{
		"no annotation":  {objects: world(annotated(), plainPod())},
		"all is honored": {objects: world(annotated(reloader.Auto, "true", reloader.SecretReload, "app-s.*", reloader.ClassReload, "files"), plainPod(envFrom("app-secrets")))},
		"auto and a ConfigMap": {
			objects: world(configMap(annotated(reloader.Auto, "true")), plainPod()),
			want:    []string{"reloader.stakater.com/auto: ConfigMaps are not followed (app-config)"},
		},
		"search and a ConfigMap, whatever it says": {
			objects: world(configMap(annotated(reloader.Search, "true")), plainPod()),
			want:    []string{"reloader.stakater.com/search: ConfigMaps are not followed (app-config)"},
		},
		"search and a Secret of another, whatever it says": {
			objects: world(annotated(reloader.Search, "true"), plainPod(envFrom("by-hand"))),
			want:    []string{"reloader.stakater.com/search: Secrets that the driver does not fill are not followed (by-hand)"},
		},
		"auto and a Secret of another": {
			objects: world(annotated(reloader.SecretAuto, "true"), plainPod(envFrom("by-hand"))),
			want:    []string{"secret.reloader.stakater.com/auto: Secrets that the driver does not fill are not followed (by-hand)"},
		},
		"names of what is not there": {
			objects: world(annotated(reloader.SecretReload, "by-hand,app-secrets", reloader.ClassReload, "files,other"), plainPod()),
			want: []string{
				"secret.reloader.stakater.com/reload: by-hand is no Secret that the driver fills",
				"secretproviderclass.reloader.stakater.com/reload: the pods take from no SecretProviderClass other",
			},
		},
		"an expression that matches nothing, as long as people like": {
			objects: world(annotated(reloader.SecretReload, "app-[0-9]+"+strings.Repeat("x", 100)), plainPod()),
			want: []string{
				"secret.reloader.stakater.com/reload: app-[0-9]+" + strings.Repeat("x", 50) + "... is no Secret that the driver fills",
			},
		},
		"names that may be there in a moment": {
			objects: world(young(annotated(reloader.SecretReload, "by-hand", reloader.PausePeriod, "1m")), plainPod()),
			want:    []string{"deployment.reloader.stakater.com/pause-period: the Deployment is not paused; --settle gathers changes, --min-interval keeps rollouts apart"},
			wait:    40 * time.Second,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := cached(t, test.objects...)
			got, wait := c.unhonored(noon, c.workload(key{deployments.GroupKind(), shop, "web"}))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if wait != test.wait {
				t.Errorf("looks again in %s, want %s", wait, test.wait)
			}
		})
	}
	t.Run("a CronJob", func(t *testing.T) {
		job := &batchv1.CronJob{ObjectMeta: meta("nightly")}
		job.Annotations = map[string]string{reloader.Auto: "true"}
		c := cached(t, job)
		got, _ := c.unhonored(noon, c.workload(key{cronJobs.GroupKind(), shop, "nightly"}))
		if diff := cmp.Diff([]string{"no Job is run for a change: the next one takes the newest content by itself"}, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
	t.Run("search without access to Secrets", func(t *testing.T) {
		c := cached(t, world(annotated(reloader.Search, "true"), plainPod(envFrom("app-secrets")))...)
		c.secrets = store[*secret]{}
		got, _ := c.unhonored(noon, c.workload(key{deployments.GroupKind(), shop, "web"}))
		if len(got) != 1 || !strings.Contains(got[0], "no right to see Secrets") {
			t.Errorf("told %q", got)
		}
	})
}

// reloaded is a small shop by hand: web has annotations and is not injected.
func reloaded(d *appsv1.Deployment, change ...func(*corev1.Pod)) []runtime.Object {
	hourAgo := time.Now().Add(-time.Hour)
	pod := plainPod(append(change, func(p *corev1.Pod) {
		p.CreationTimestamp = metav1.NewTime(hourAgo)
		p.Status.ContainerStatuses = []corev1.ContainerStatus{running("app", hourAgo)}
	})...)
	status := podStatus(pod.Name, "files", "v1", 1, hourAgo)
	status.CreationTimestamp = metav1.NewTime(hourAgo)
	return []runtime.Object{d, replicaSet("web-1", "1"), pod, status, syncingClass("files", "app-secrets"), managedSecret("app-secrets", "one")}
}

func honored(c *Config) { c.HonorReloader = true }

func TestRollByReloadersAnnotations(t *testing.T) {
	rotate := func(c *cluster) { c.rotate("files", "v2", time.Second) }
	secretChanges := func(c *cluster) {
		s, err := c.kube.CoreV1().Secrets(shop).Get(c.t.Context(), "app-secrets", metav1.GetOptions{})
		c.must(err)
		s.Data["db-password"] = []byte("two")
		c.putSecret(s)
	}
	both := func(c *cluster) {
		rotate(c)
		secretChanges(c)
	}
	tests := map[string]struct {
		annotations []string
		pod         []func(*corev1.Pod)
		config      []func(*Config)
		change      func(*cluster)
		want        int
	}{
		"a class by its name":                      {[]string{reloader.ClassReload, "files"}, nil, []func(*Config){honored}, rotate, 1},
		"without the flag nothing":                 {[]string{reloader.ClassReload, "files"}, nil, nil, rotate, 0},
		"without an annotation nothing":            {nil, []func(*corev1.Pod){envFrom("app-secrets")}, []func(*Config){honored}, both, 0},
		"auto with class and Secret rolls once":    {[]string{reloader.Auto, "true"}, []func(*corev1.Pod){envFrom("app-secrets")}, []func(*Config){honored}, both, 1},
		"a Secret by an expression, taken by none": {[]string{reloader.SecretReload, "app-.+"}, []func(*corev1.Pod){unmounted}, []func(*Config){honored}, both, 1},
		"a Secret that is excluded":                {[]string{reloader.SecretAuto, "true", reloader.SecretExclude, "app-secrets"}, []func(*corev1.Pod){unmounted, envFrom("app-secrets")}, []func(*Config){honored}, both, 0},
		"a mark that comes later counts from then on": {[]string{reloader.Search, "true"}, []func(*corev1.Pod){envFrom("app-secrets")}, []func(*Config){honored}, func(c *cluster) {
			both(c)
			time.Sleep(10 * time.Minute)
			if got := c.patched(); len(got) > 0 {
				c.t.Errorf("patched %v without a mark", got)
			}
			s, err := c.kube.CoreV1().Secrets(shop).Get(c.t.Context(), "app-secrets", metav1.GetOptions{})
			c.must(err)
			s.Annotations = map[string]string{reloader.Match: "true"}
			c.putSecret(s)
		}, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := start(t, reloaded(annotated(test.annotations...), test.pod...), test.config...)
				defer func() { c.stop() }()
				time.Sleep(10 * time.Minute)
				if got := c.patched(); len(got) > 0 {
					t.Fatalf("patched %v before anything changed", got)
				}
				test.change(c)
				time.Sleep(10 * time.Minute)
				if got := c.patched(); len(got) != test.want {
					t.Errorf("patched %v, want %d", got, test.want)
				}
			})
		})
	}
}

func TestReloaderBesideUs(t *testing.T) {
	env := func(name, value string) func(*appsv1.Deployment) {
		return func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "app", Env: []corev1.EnvVar{{Name: name, Value: value}}}}
		}
	}
	files := func(value string) func(*appsv1.Deployment) { return env("STAKATER_FILES_SECRETPROVIDERCLASS", value) }
	last := func(text string) func(*appsv1.Deployment) {
		return func(d *appsv1.Deployment) {
			d.Spec.Template.Annotations = map[string]string{reloader.LastReloadedFrom: text}
		}
	}
	follows := []string{reloader.ClassReload, "files"}
	none := func(*appsv1.Deployment) {}
	tests := map[string]struct {
		annotations   []string
		before, after func(*appsv1.Deployment)
		manager       string
		want          bool
	}{
		"a variable that it sets":                        {follows, none, files("1"), "x", true},
		"a variable that it sets anew":                   {follows, files("1"), files("2"), "x", true},
		"a variable for the Secret that our class fills": {follows, none, env("STAKATER_APP_SECRETS_SECRET", "1"), reloaderManager, true},
		"the annotation that it writes":                  {follows, none, last(`{"type":"SECRETPROVIDERCLASS","name":"files"}`), "x", true},
		"its name in managedFields":                      {follows, none, func(d *appsv1.Deployment) { d.Spec.Paused = true }, reloaderManager, true},
		"traces from long ago":                           {follows, files("1"), func(d *appsv1.Deployment) { d.Labels = map[string]string{"a": "b"} }, "x", false},
		"traces that somebody wipes":                     {follows, files("1"), func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers = nil }, "x", false},
		"a workload that is Reloader's alone":            {nil, none, files("1"), "x", false},
		"another's change":                               {follows, none, func(d *appsv1.Deployment) { d.Spec.Template.Labels = map[string]string{"a": "b"} }, "x", false},
		"its work for a ConfigMap":                       {follows, files("1"), env("STAKATER_FILES_CONFIGMAP", "1"), reloaderManager, false},
		"its work for a Secret of others":                {follows, none, env("STAKATER_BY_HAND_SECRET", "1"), reloaderManager, false},
		"its work for a ConfigMap, by annotation":        {follows, last(`{"type":"SECRETPROVIDERCLASS","name":"files"}`), last(`{"type":"CONFIGMAP","name":"files"}`), reloaderManager, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := annotated(test.annotations...)
				test.before(d)
				c := start(t, reloaded(d), honored)
				defer func() { c.stop() }()
				time.Sleep(time.Minute)
				d, err := c.kube.AppsV1().Deployments(shop).Get(t.Context(), "web", metav1.GetOptions{})
				c.must(err)
				test.after(d)
				d.ResourceVersion += "0"
				_, err = c.kube.AppsV1().Deployments(shop).Update(t.Context(), d, metav1.UpdateOptions{FieldManager: test.manager})
				c.must(err)
				time.Sleep(time.Minute)
				got := strings.Contains(strings.Join(c.events(), "\n"), "Warning ReloaderActive Deployment/web")
				if got != test.want {
					t.Errorf("told: %t, want %t: %v", got, test.want, c.events())
				}
			})
		})
	}
}

func TestUnhonoredIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, reloaded(annotated(reloader.Auto, "true", reloader.ConfigMapReload, "app-config")), honored)
		defer func() { c.stop() }()
		time.Sleep(10 * time.Minute)
		c.rotate("files", "v2", time.Second)
		time.Sleep(10 * time.Minute)
		told := 0
		for _, e := range c.events() {
			if e == "Warning ReloaderAnnotationNotHonored Deployment/web" {
				told++
			}
		}
		if told != 1 {
			t.Errorf("told %d times: %v", told, c.events())
		}
	})
}

// What one look at a workload of a thousand pods costs in a namespace of a
// thousand Secrets, by how it names the one that it takes from. The last is
// about the dearest expression that is read.
func BenchmarkGatherByReloadersAnnotations(b *testing.B) {
	objects := []runtime.Object{replicaSet("web-1", "1")}
	for i := range 1000 {
		secret := fmt.Sprintf("app-%d", i)
		objects = append(objects, syncingClass(fmt.Sprintf("files-%d", i), secret), managedSecret(secret, "x"))
		pod := plainPod(envFrom("app-0"))
		pod.Name, pod.UID = fmt.Sprintf("web-1-%d", i), types.UID(secret)
		pod.Spec.Volumes[0] = csiVolume("files", "files-0")
		objects = append(objects, pod)
	}
	for name, list := range map[string]string{"exact": "app-0", "expression": "app-0+", "dearest": "(?:(a?)(-?)(p?)(0?)){30}b"} {
		b.Run(name, func(b *testing.B) {
			c := cached(b, append(objects, annotated(reloader.SecretReload, list, reloader.Auto, "true"))...)
			w := c.workload(key{deployments.GroupKind(), shop, "web"})
			for b.Loop() {
				c.gather(w, func(string, string, string) time.Time { return time.Time{} })
			}
		})
	}
}
