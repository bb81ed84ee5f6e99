package watcher

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"keyroll.dev/internal/annotation"
	"keyroll.dev/watcher/rollout"
)

// told is the part of a State that gathering decides, in few words.
type toldState struct {
	Current []string            // names of the pods that are current
	Mounts  map[string][]string // by pod: the classes that count
	Synced  map[string]map[string][]string
	Feeds   map[string]int
	Secrets map[string]rollout.Secret // without digests
}

func inShort(s rollout.State) toldState {
	short := toldState{}
	for _, p := range s.Pods {
		if p.Current {
			short.Current = append(short.Current, p.Name)
		}
		for _, m := range p.Mounts {
			if short.Mounts == nil {
				short.Mounts = map[string][]string{}
			}
			class := m.Class
			if m.Status == nil {
				class += " (no status)"
			}
			short.Mounts[p.Name] = append(short.Mounts[p.Name], class)
		}
	}
	for name, c := range s.Classes {
		if short.Synced == nil {
			short.Synced, short.Feeds = map[string]map[string][]string{}, map[string]int{}
		}
		short.Synced[name], short.Feeds[name] = c.Synced, len(c.Feeds)
	}
	for name, secret := range s.Secrets {
		if short.Secrets == nil {
			short.Secrets = map[string]rollout.Secret{}
		}
		secret.Digest = ""
		short.Secrets[name] = secret
	}
	return short
}

func TestGather(t *testing.T) {
	injected := func(change ...func(*corev1.Pod)) []runtime.Object {
		return []runtime.Object{
			enabledNamespace(), deployment(), replicaSet("web-1", "1"),
			injectedPod("web-1-a", "web-1", "files", change...), podStatus("web-1-a", "files", "v1", 1, noon.Add(-time.Hour)),
		}
	}
	synced := map[string][]string{"app-secrets": {"secret/db-password"}}
	tests := map[string]struct {
		objects []runtime.Object
		want    toldState
	}{
		"an injected pod counts with all that it mounts": {
			objects: injected(func(p *corev1.Pod) {
				p.Spec.Volumes = append(p.Spec.Volumes, csiVolume("more", "by-hand"), csiVolume("idle", "unmounted"))
				p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: "more", MountPath: "/more"})
			}),
			want: toldState{
				Current: []string{"web-1-a"},
				Mounts:  map[string][]string{"web-1-a": {"files", "by-hand (no status)"}},
				Synced:  map[string]map[string][]string{"files": nil, "by-hand": nil},
				Feeds:   map[string]int{"files": 1, "by-hand": 0},
			},
		},
		"in a namespace that is not opted in an injected pod counts for nothing": {
			objects: append(injected(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: shop}}),
			want:    toldState{Current: []string{"web-1-a"}},
		},
		"a pod that was never injected counts for nothing, whatever it mounts": {
			objects: injected(func(p *corev1.Pod) { p.Labels = nil }),
			want:    toldState{Current: []string{"web-1-a"}},
		},
		"env from a Secret that a mounted class fills is consumed, and needs new containers": {
			objects: append(injected(envFrom("app-secrets")), syncingClass("files", "app-secrets"), managedSecret("app-secrets", "x")),
			want: toldState{
				Current: []string{"web-1-a"},
				Mounts:  map[string][]string{"web-1-a": {"files"}},
				Synced:  map[string]map[string][]string{"files": synced},
				Feeds:   map[string]int{"files": 1},
				Secrets: map[string]rollout.Secret{"app-secrets": {Env: true, Trigger: true}},
			},
		},
		"a Secret that the driver does not fill is not consumed": {
			objects: append(injected(envFrom("by-hand")), managedSecret("by-hand", "x")),
			want: toldState{
				Current: []string{"web-1-a"},
				Mounts:  map[string][]string{"web-1-a": {"files"}},
				Synced:  map[string]map[string][]string{"files": nil},
				Feeds:   map[string]int{"files": 1},
			},
		},
		"restart-on auto counts without injection, and in any namespace": {
			objects: []runtime.Object{
				deployment(func(d *appsv1.Deployment) { d.Annotations[annotation.RestartOn] = "auto" }),
				replicaSet("web-1", "1"),
				injectedPod("web-1-a", "web-1", "files", func(p *corev1.Pod) { p.Labels = nil }, envFrom("other")),
				managedSecret("other", "x"),
			},
			want: toldState{
				Current: []string{"web-1-a"},
				Mounts:  map[string][]string{"web-1-a": {"files (no status)"}},
				Synced:  map[string]map[string][]string{"files": nil},
				Feeds:   map[string]int{"files": 0},
				Secrets: map[string]rollout.Secret{"other": {Env: true, Trigger: true}},
			},
		},
		"restart-on a Secret counts that Secret, and the class that fills it though it is not mounted": {
			objects: []runtime.Object{
				deployment(func(d *appsv1.Deployment) {
					d.Spec.Template.Annotations = map[string]string{annotation.RestartOn: "secret/app-secrets"}
				}),
				replicaSet("web-1", "1"),
				injectedPod("web-1-a", "web-1", "files", func(p *corev1.Pod) { p.Labels = nil }),
				syncingClass("feeder", "app-secrets"), managedSecret("app-secrets", "x"),
			},
			want: toldState{
				Current: []string{"web-1-a"},
				Synced:  map[string]map[string][]string{"feeder": synced},
				Feeds:   map[string]int{"feeder": 0},
				Secrets: map[string]rollout.Secret{"app-secrets": {Trigger: true}},
			},
		},
		"a class is fed by the live pods of every workload": {
			objects: append(injected(),
				injectedPod("other", "other-1", "files"), podStatus("other", "files", "v2", 2, noon),
				injectedPod("ended", "other-1", "files", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }),
				podStatus("ended", "files", "v0", 1, noon),
				podStatus("gone", "files", "v0", 1, noon),
			),
			want: toldState{
				Current: []string{"web-1-a"},
				Mounts:  map[string][]string{"web-1-a": {"files"}},
				Synced:  map[string]map[string][]string{"files": nil},
				Feeds:   map[string]int{"files": 2},
			},
		},
		"pods of an older ReplicaSet are not current": {
			objects: []runtime.Object{
				deployment(func(d *appsv1.Deployment) { d.Annotations[revisionAnnotation] = "2" }),
				replicaSet("web-1", "1"), replicaSet("web-2", "2"),
				injectedPod("web-1-a", "web-1", "files"), injectedPod("web-2-a", "web-2", "files"),
			},
			want: toldState{Current: []string{"web-2-a"}},
		},
		"no pod is current before the controller has observed the newest generation": {
			objects: append(injected(), deployment(func(d *appsv1.Deployment) { d.Generation = 2 })),
			want: toldState{
				Mounts: map[string][]string{"web-1-a": {"files"}},
				Synced: map[string]map[string][]string{"files": nil},
				Feeds:  map[string]int{"files": 1},
			},
		},
		"no pod is current while the Deployment's number and its newest ReplicaSet's differ": {
			objects: append(injected(), replicaSet("web-2", "2")),
			want: toldState{
				Mounts: map[string][]string{"web-1-a": {"files"}},
				Synced: map[string]map[string][]string{"files": nil},
				Feeds:  map[string]int{"files": 1},
			},
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
		})
	}
}

func TestTheNewestReplicaSetTellsTheTemplate(t *testing.T) {
	c := cached(t, deployment(), replicaSet("web-1", "10"), replicaSet("web-2", "9"))
	if got := c.newestRevision(c.workload(webNamed("web"))); got != "web-1" {
		t.Errorf("%q is the newest revision, want web-1", got)
	}
}

func TestCurrencyOfSets(t *testing.T) {
	owned := func(name string, set *metav1.ObjectMeta, kind string, hash string) *corev1.Pod {
		p := injectedPod(name, "none", "files")
		p.Labels[appsv1.ControllerRevisionHashLabelKey] = hash
		controlledBy(&p.ObjectMeta, appsv1.SchemeGroupVersion.WithKind(kind), set.Name)
		return p
	}
	stateful := &appsv1.StatefulSet{ObjectMeta: meta("db"), Status: appsv1.StatefulSetStatus{ObservedGeneration: 1, UpdateRevision: "db-2"}}
	agent := &appsv1.DaemonSet{ObjectMeta: meta("agent"), Status: appsv1.DaemonSetStatus{ObservedGeneration: 1}}
	c := cached(t, enabledNamespace(), stateful, agent,
		owned("db-0", &stateful.ObjectMeta, "StatefulSet", "db-1"), owned("db-1", &stateful.ObjectMeta, "StatefulSet", "db-2"),
		controllerRevision("agent-x", 1, "x"), controllerRevision("agent-y", 3, "y"), controllerRevision("agent-z", 2, "z"),
		owned("agent-a", &agent.ObjectMeta, "DaemonSet", "y"), owned("agent-b", &agent.ObjectMeta, "DaemonSet", "z"),
	)
	got, revisions := map[string][]string{}, map[string]string{}
	for _, k := range []key{{statefulSets.GroupKind(), shop, "db"}, {daemonSets.GroupKind(), shop, "agent"}} {
		state := c.gather(c.workload(k), func(string, string, string) time.Time { return time.Time{} })
		got[k.kind.Kind], revisions[k.kind.Kind] = inShort(state).Current, state.Workload.Revision
	}
	want := map[string][]string{"StatefulSet": {"db-1"}, "DaemonSet": {"agent-a"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("current pods (-want +got)\n%s", diff)
	}
	wantRevisions := map[string]string{"StatefulSet": "db-2", "DaemonSet": "y"}
	if diff := cmp.Diff(wantRevisions, revisions); diff != "" {
		t.Errorf("newest revisions (-want +got)\n%s", diff)
	}
}
