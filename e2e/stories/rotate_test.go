package stories

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"keyroll.dev/e2e/driver"
	"keyroll.dev/e2e/world"
	"keyroll.dev/internal/annotation"
)

// target is a workload whose rollouts are counted.
type target struct {
	*story
	kind, name string
	env        map[string]string         // variable to secret
	counted    rollouts                  // what the last count found
	rolloutsOf dynamic.ResourceInterface // for a Rollout
	classes    func()                    // writes the classes that people wrote for it; may be nil
}

// fleet is what one test watches. Its workloads go through everything at the
// same time.
type fleet []*target

var asksForFiles = map[string]string{annotation.Objects: "db-username,db-password", annotation.ServiceAccount: account}

func asksForEnv() map[string]string {
	asks := maps.Clone(asksForFiles)
	asks[annotation.Env] = "DB_USERNAME=db-username,DB_PASSWORD=db-password"
	return asks
}

var bothInEnv = map[string]string{"DB_USERNAME": "db-username", "DB_PASSWORD": "db-password"}

// raise is prepare for a test that takes away what it has made: later stories
// should not have to wait for its pods.
func raise(t *testing.T, ns string) *story {
	t.Helper()
	s := prepare(t, ns)
	t.Cleanup(func() { // not with the test's context, which is over
		_, _ = s.Kubectl(context.WithoutCancel(t.Context()), "delete", "namespace", s.ns, "--wait=false")
	})
	return s
}

// target is a workload of the story that has just been made.
func (s *story) target(kind, name string, env map[string]string) *target {
	return &target{story: s, kind: kind, name: name, env: env, counted: rollouts{Generation: 1, ReplicaSets: 1}}
}

func (s *story) deployed(name string, replicas int32, annotations, env map[string]string) *target {
	s.t.Helper()
	s.create(s.deployment(name, replicas, annotations))
	return s.target("Deployment", name, env)
}

// deployedByHand is what the guide for the CSI driver makes, see deployGuide.
func (s *story) deployedByHand(replicas int32) *target {
	s.t.Helper()
	deployGuide(s, replicas)
	w := s.target("Deployment", appName, bothInEnv)
	w.classes = s.guideClass
	return w
}

// statefulSet and daemonSet are a Deployment's pods in other hands.
func (s *story) statefulSet(name string, replicas int32, annotations map[string]string, change ...func(*appsv1.StatefulSet)) *target {
	s.t.Helper()
	d := s.deployment(name, replicas, annotations)
	set := &appsv1.StatefulSet{ObjectMeta: d.ObjectMeta, Spec: appsv1.StatefulSetSpec{
		Replicas: d.Spec.Replicas, Selector: d.Spec.Selector, Template: d.Spec.Template, ServiceName: name,
		PodManagementPolicy: appsv1.ParallelPodManagement,
	}}
	for _, f := range change {
		f(set)
	}
	if _, err := s.Client().AppsV1().StatefulSets(s.ns).Create(s.t.Context(), set, metav1.CreateOptions{}); err != nil {
		s.t.Fatal(err)
	}
	return s.target("StatefulSet", name, nil)
}

func (s *story) daemonSet(name string, annotations map[string]string, change ...func(*appsv1.DaemonSet)) *target {
	s.t.Helper()
	d := s.deployment(name, 0, annotations)
	set := &appsv1.DaemonSet{ObjectMeta: d.ObjectMeta, Spec: appsv1.DaemonSetSpec{Selector: d.Spec.Selector, Template: d.Spec.Template}}
	for _, f := range change {
		f(set)
	}
	if _, err := s.Client().AppsV1().DaemonSets(s.ns).Create(s.t.Context(), set, metav1.CreateOptions{}); err != nil {
		s.t.Fatal(err)
	}
	return s.target("DaemonSet", name, nil)
}

// count answers how often the workload's spec changed, and how many revisions
// of its pods there were.
func (w *target) count(t *testing.T) rollouts {
	t.Helper()
	ctx, apps := t.Context(), w.Client().AppsV1()
	if w.kind == "Deployment" {
		w.t = t
		return w.rollouts(w.name)
	}
	owner, err := w.object(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if w.kind == "Rollout" {
		sets, err := apps.ReplicaSets(w.ns).List(ctx, metav1.ListOptions{LabelSelector: podTemplateHash})
		if err != nil {
			t.Fatal(err)
		}
		return rollouts{owner.GetGeneration(), len(sets.Items)}
	}
	revisions, err := apps.ControllerRevisions(w.ns).List(ctx, metav1.ListOptions{LabelSelector: "app=" + w.name})
	if err != nil {
		t.Fatal(err)
	}
	return rollouts{owner.GetGeneration(), len(revisions.Items)}
}

func (w *target) object(ctx context.Context) (metav1.Object, error) {
	apps := w.Client().AppsV1()
	switch w.kind {
	case "StatefulSet":
		return apps.StatefulSets(w.ns).Get(ctx, w.name, metav1.GetOptions{})
	case "DaemonSet":
		return apps.DaemonSets(w.ns).Get(ctx, w.name, metav1.GetOptions{})
	case "Rollout":
		return w.rolloutsOf.Get(ctx, w.name, metav1.GetOptions{})
	default:
		return apps.Deployments(w.ns).Get(ctx, w.name, metav1.GetOptions{})
	}
}

// unfinished tells what the workload's rollout still lacks, "" if nothing.
func (w *target) unfinished(ctx context.Context) string {
	object, err := w.object(ctx)
	if err != nil {
		return err.Error()
	}
	switch o := object.(type) {
	case *appsv1.StatefulSet:
		s := o.Status
		if s.ObservedGeneration < o.Generation || s.CurrentRevision != s.UpdateRevision || s.ReadyReplicas < *o.Spec.Replicas {
			return fmt.Sprintf("revision %s of %s, %d of %d pods ready", s.CurrentRevision, s.UpdateRevision, s.ReadyReplicas, *o.Spec.Replicas)
		}
	case *appsv1.DaemonSet:
		s := o.Status
		if s.ObservedGeneration < o.Generation || s.DesiredNumberScheduled == 0 || s.UpdatedNumberScheduled < s.DesiredNumberScheduled || s.NumberReady < s.DesiredNumberScheduled {
			return fmt.Sprintf("%d of %d pods updated, %d ready", s.UpdatedNumberScheduled, s.DesiredNumberScheduled, s.NumberReady)
		}
	case *unstructured.Unstructured:
		replicas, _, _ := unstructured.NestedInt64(o.Object, "spec", "replicas")
		available, _, _ := unstructured.NestedInt64(o.Object, "status", "availableReplicas")
		observed, _, _ := unstructured.NestedString(o.Object, "status", "observedGeneration")
		running, err := w.Running(ctx, w.ns)
		if err != nil {
			return err.Error()
		}
		if observed != fmt.Sprint(o.GetGeneration()) || available < replicas || len(running) != int(replicas) {
			return fmt.Sprintf("generation %s of %d, %d of %d pods available, %d run", observed, o.GetGeneration(), available, replicas, len(running))
		}
	default:
		return w.complete(ctx, w.name)
	}
	return ""
}

// unrolled tells that the workload has not been rolled since it was counted, ""
// if it has.
func (w *target) unrolled(t *testing.T) func(context.Context) string {
	return func(context.Context) string {
		if got := w.count(t); got.Generation == w.counted.Generation {
			return fmt.Sprintf("still generation %d", got.Generation)
		}
		return ""
	}
}

// each does a step of the story with every workload.
func (f fleet) each(t *testing.T, step string, do func(*testing.T, *target)) {
	t.Helper()
	for _, w := range f {
		t.Run(fmt.Sprintf("%s/%s/%s", step, w.ns, w.name), func(t *testing.T) {
			w.t = t
			do(t, w)
		})
		w.t = t
	}
}

// settled waits until every rollout is complete and every pod runs on the newest content.
func (f fleet) settled(t *testing.T, step string) {
	t.Helper()
	f.each(t, step, func(t *testing.T, w *target) {
		eventually(t, "rolled out, on the newest content", func(ctx context.Context) string {
			if lacking := w.unfinished(ctx); lacking != "" {
				return lacking
			}
			return w.outdated(w.env)
		})
	})
	if t.Failed() {
		t.FailNow() // what follows would only wait as long
	}
}

// rolled wants n rollouts of every workload since they were counted before, and
// waits for a while in which a needless one would show.
func (f fleet) rolled(t *testing.T, step string, n int) {
	t.Helper()
	quiet(t)
	f.rolledSoFar(t, step, n)
}

// rolledSoFar is rolled for a step after which others follow: the count after
// the last of them shows what was late.
func (f fleet) rolledSoFar(t *testing.T, step string, n int) {
	t.Helper()
	f.each(t, step, func(t *testing.T, w *target) {
		got, want := w.count(t), w.counted.and(n)
		if got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		w.counted = got
	})
}

// holding waits until the files of every pod have the newest content, whether
// or not anybody rolls.
func (f fleet) holding(t *testing.T, objects ...string) {
	t.Helper()
	for _, w := range f {
		eventually(t, w.ns+" holds the new files", func(context.Context) string { return w.behind(objects...) })
	}
}

// behind tells which live pod's files are behind the vault, "" if none. One that
// mounts nothing cannot be.
func (s *story) behind(objects ...string) string {
	lacking := s.everyContainer(func(c world.Container) string {
		for _, name := range objects {
			if got, newest := c.Now[s.id(name)], s.newest(name); len(c.Now) > 0 && got != newest.Version {
				return fmt.Sprintf("holds %s of %s, the vault has %s", got, name, newest.Version)
			}
		}
		return ""
	})
	if lacking == noneRuns {
		return ""
	}
	return lacking
}

// rotate gives secrets new versions in the vaults of all stories.
func (f fleet) rotate(objects ...string) {
	done := map[*story]bool{}
	for _, w := range f {
		if done[w.story] {
			continue
		}
		done[w.story] = true
		for _, name := range objects {
			w.story.rotate(name)
		}
	}
}

// timesTold counts the Events of a reason on the workload.
func (w *target) timesTold(ctx context.Context, reason string) (int, error) {
	events, err := w.eventsOn(ctx, w.kind, w.name)
	n := 0
	for _, e := range events {
		if e.Reason == reason {
			n += int(max(e.Count, 1))
		}
	}
	return n, err
}

// eventsOn are those on an object that the story's people look at.
func (s *story) eventsOn(ctx context.Context, kind, name string) ([]corev1.Event, error) {
	events, err := s.Client().CoreV1().Events(s.ns).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(events.Items, func(e corev1.Event) bool {
		return e.InvolvedObject.Kind != kind || e.InvolvedObject.Name != name
	}), nil
}

// told waits for an Event on the object that the story's people look at.
func (s *story) told(t *testing.T, kind, name, reason string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s %s has an Event %s", kind, name, reason), func(ctx context.Context) string {
		events, err := s.eventsOn(ctx, kind, name)
		if err != nil {
			return err.Error()
		}
		var others []string
		for _, e := range events {
			if e.Reason == reason {
				return ""
			}
			others = append(others, e.Reason)
		}
		return "only " + strings.Join(others, ", ")
	})
}

var tending sync.Mutex

// tend starts a watcher again that has ended because it could not renew its
// lease in time, as a kubelet would: on a busy machine the suite's short leases
// run out. One that ended for another reason fails the test; one that a story
// has ended stays so.
func tend(t *testing.T) {
	t.Helper()
	if !shared.Modelled() {
		return // its kubelet does
	}
	tending.Lock()
	defer tending.Unlock()
	select {
	case <-shared.Watcher.Done():
	default:
		return
	}
	err := shared.Watcher.Err()
	switch {
	case err == nil:
		return // a story has ended it
	case !strings.Contains(err.Error(), "leader lease"):
		t.Fatalf("the watcher has ended: %v", err)
	}
	t.Log("the watcher lost its lease; another one is started")
	startWatcher(t)
}

func startWatcher(t *testing.T) {
	t.Helper()
	if err := shared.StartWatcher(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// takeOver starts a watcher in place of one that is away, and waits until it leads:
// the lease of one that was killed must expire first.
func takeOver(t *testing.T) {
	t.Helper()
	startWatcher(t)
	awaitLeader(t)
}

// awaitLeader waits until the watcher leads.
func awaitLeader(t *testing.T) {
	t.Helper()
	if !shared.Modelled() {
		return
	}
	eventually(t, "the watcher leads", func(ctx context.Context) string {
		m, err := watching().Metrics(ctx)
		if err != nil || m.Sum("keyroll_watcher_leader", nil) == 0 {
			return fmt.Sprintf("not yet (%v)", err)
		}
		return ""
	})
}

// generation is one of the driver, or what a given cluster has.
type generation struct {
	name string // for the story's parts
	of   driver.Generation
	end  string // of the names that the story makes with it
}

// everyGeneration plays a story with one generation of the driver after the
// other, on all nodes, and on those of more drivers. A given cluster has one already.
func everyGeneration(t *testing.T, play func(*testing.T, generation), more ...*driver.Driver) {
	t.Helper()
	if !shared.Modelled() {
		play(t, generation{name: "given"})
		return
	}
	for _, g := range []generation{{driver.Polling.String(), driver.Polling, "-old"}, {driver.Republishing.String(), driver.Republishing, "-new"}} {
		if g.of != driver.Polling {
			switchDriver(t, g.of, more...)
		}
		t.Run(g.name, func(t *testing.T) { play(t, g) })
	}
}

// switchDriver puts another generation in place of the driver, and of more
// drivers of other nodes, until the test ends.
func switchDriver(t *testing.T, to driver.Generation, more ...*driver.Driver) {
	t.Helper()
	needsModel(t, "replace the driver")
	set := func(ctx context.Context, to driver.Generation) {
		for _, d := range append(more, shared.Driver) {
			if err := d.Switch(ctx, to); err != nil {
				t.Fatal(err)
			}
		}
	}
	set(t.Context(), to)
	t.Cleanup(func() { set(context.WithoutCancel(t.Context()), driver.Polling) })
}

// podNames are the live pods of the story's namespace.
func (s *story) podNames() []string {
	var names []string
	s.everyContainer(func(c world.Container) string {
		if len(names) == 0 || names[len(names)-1] != c.Pod {
			names = append(names, c.Pod)
		}
		return ""
	})
	return names
}

// syncedSecrets are the names of the Secrets that the driver made.
func (s *story) syncedSecrets() []string {
	s.t.Helper()
	list, err := s.Client().CoreV1().Secrets(s.ns).List(s.t.Context(), metav1.ListOptions{LabelSelector: driver.ManagedLabel + "=true"})
	if err != nil {
		s.t.Fatal(err)
	}
	var names []string
	for _, secret := range list.Items {
		names = append(names, secret.Name)
	}
	return names
}
