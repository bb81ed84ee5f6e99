package driver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Annotations of a pod that say how its containers behave.
const (
	// CompleteAfter is the time ("2s") after which the containers of a pod with
	// restartPolicy Never or OnFailure end with exit code 0.
	CompleteAfter = "csi-model.test/complete-after"
	// NeverReady with "true" keeps the containers from becoming ready.
	NeverReady = "csi-model.test/never-ready"
)

// worker is the kubelet's worker of one pod: it mounts, starts containers,
// keeps looking at them, and writes the pod's status.
//
// Locks are taken in the order node, worker; a worker's is never held while
// the node, a volume or the record is asked.
type worker struct {
	n       *node
	uid     types.UID
	podIP   string
	stop    chan struct{}
	stopped sync.Once
	ended   chan struct{} // closed when start has returned
	looks   chan struct{}
	crashes chan crash
	last    corev1.PodStatus // as last written; only start's goroutine has it

	mu      sync.Mutex
	pod     *corev1.Pod
	states  []*state                   // init containers first
	secrets map[string]map[string]File // by the name of a volume that shows Secrets
	sandbox bool
}

// state is one container.
type state struct {
	spec    *corev1.Container
	init    bool
	status  corev1.ContainerState
	before  corev1.ContainerState // the last that ended
	count   int32
	ready   bool
	created bool
}

type crash struct {
	container string
	done      chan error
}

func newWorker(n *node, pod *corev1.Pod, podIP string) *worker {
	w := &worker{
		n: n, uid: pod.UID, pod: pod, podIP: podIP, stop: make(chan struct{}), ended: make(chan struct{}),
		looks: make(chan struct{}, 1), crashes: make(chan crash), secrets: map[string]map[string]File{},
	}
	for c, init := range containers(pod) {
		w.states = append(w.states, &state{spec: c, init: init, status: waiting("ContainerCreating", "")})
	}
	return w
}

func waiting(reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

// end lets the worker go; what it started stays recorded.
func (w *worker) end() { w.stopped.Do(func() { close(w.stop) }) }

// see takes a newer version of the pod. A change other than of the status
// makes the kubelet look at the pod at once.
func (w *worker) see(pod *corev1.Pod) {
	w.mu.Lock()
	old := w.pod
	w.pod = pod
	w.mu.Unlock()
	if !reflect.DeepEqual(old.Labels, pod.Labels) || !reflect.DeepEqual(old.Annotations, pod.Annotations) || old.Generation != pod.Generation {
		w.look()
	}
}

func (w *worker) look() {
	select {
	case w.looks <- struct{}{}:
	default:
	}
}

func (w *worker) current() *corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pod
}

func (w *worker) is(namespace, name string) bool {
	pod := w.current()
	return pod.Namespace == namespace && pod.Name == name
}

// start runs the pod until it is gone, is being deleted, or has finished.
func (w *worker) start(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer close(w.ended)
	defer w.n.d.truth.remove(w)
	w.n.d.running.Go(func() {
		select {
		case <-w.stop:
			cancel()
		case <-ctx.Done():
		}
	})
	w.report(ctx)
	if !w.mountAll(ctx) {
		return
	}
	start, ready := w.delays()
	if !sleep(ctx, start) {
		return
	}
	w.setSandbox()
	if w.initialize(ctx) && ctx.Err() == nil {
		w.keep(ctx, ready)
	}
}

// delays are the times from mount to start, and from start to ready.
func (w *worker) delays() (start, ready time.Duration) {
	start, ready = w.n.d.timings.Start.draw(), w.n.d.timings.Ready
	if w.n.d.cfg.Slow != nil {
		s, r := w.n.d.cfg.Slow(w.current())
		start, ready = start+s, ready+r
	}
	return start, ready
}

// mountAll mounts the volumes side by side, each with its own pauses between attempts.
func (w *worker) mountAll(ctx context.Context) bool {
	pod := w.current()
	var mounts sync.WaitGroup
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if !isOurs(*v) && !fromSecret(*v) {
			continue
		}
		mounts.Go(func() {
			pause := w.n.d.timings.MountBackoff
			for w.mount(ctx, v) != nil && sleep(ctx, pause) {
				pause = min(2*pause, w.n.d.timings.MountBackoffMax)
			}
		})
	}
	mounts.Wait()
	return ctx.Err() == nil
}

// mount mounts a volume, or brings it up to date. A failure becomes an event.
func (w *worker) mount(ctx context.Context, v *corev1.Volume) error {
	err := w.setUp(ctx, v)
	if err != nil && ctx.Err() == nil {
		w.n.events.Eventf(w.current(), corev1.EventTypeWarning, "FailedMount", "MountVolume.SetUp failed for volume %q : %v", v.Name, err)
	}
	return err
}

func (w *worker) setUp(ctx context.Context, v *corev1.Volume) error {
	pod := w.current()
	if isOurs(*v) {
		r := publishRequest{pod: pod, volume: v}
		if ref := v.CSI.NodePublishSecretRef; ref != nil {
			var err error
			if r.secrets, err = w.n.d.publishSecret(ctx, pod.Namespace, ref.Name); err != nil {
				return err
			}
		}
		return w.n.publish(ctx, r)
	}
	files, err := secretFiles(ctx, w.n.d.secretsOf(pod.Namespace), v)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.secrets[v.Name] = files
	return nil
}

func (w *worker) setSandbox() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sandbox = true
	for _, s := range w.states {
		if !s.init && len(w.pod.Spec.InitContainers) > 0 {
			s.status = waiting("PodInitializing", "")
		}
	}
}

// initialize runs the init containers one after the other. One that restarts
// always is a sidecar: it stays and the next one may start.
func (w *worker) initialize(ctx context.Context) bool {
	for _, s := range w.states {
		if !s.init {
			continue
		}
		for !w.startContainer(ctx, s) {
			w.report(ctx)
			if !sleep(ctx, w.n.d.timings.ConfigRetry.draw()) {
				return false
			}
		}
		if !isSidecar(s.spec) {
			w.endContainer(s, 0)
		}
	}
	return true
}

func isSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// keep starts the containers and looks after them.
func (w *worker) keep(ctx context.Context, ready time.Duration) {
	var retry, becomeReady, complete, look <-chan time.Time
	startWaiting := func() {
		if w.startAll(ctx) {
			retry = nil
		} else {
			retry = time.After(w.n.d.timings.ConfigRetry.draw())
		}
		becomeReady = time.After(ready)
		if ready <= 0 {
			w.makeReady()
		}
		w.report(ctx)
	}
	startWaiting()
	complete, look = w.completion(), w.nextLook()
	for {
		select {
		case <-ctx.Done():
			return
		case <-retry:
			startWaiting()
		case c := <-w.crashes:
			c.done <- w.crashNow(c.container)
			startWaiting()
		case <-becomeReady:
			becomeReady = nil
			if w.makeReady() {
				w.report(ctx)
			}
		case <-complete:
			w.complete()
			w.report(ctx)
			return
		case <-look:
			w.lookNow(ctx)
			look = w.nextLook()
		case <-w.looks:
			w.lookNow(ctx)
		}
	}
}

// lookNow is one look at a running pod: volumes of Secrets are brought up to
// date, and those of a driver that wants it are published again.
func (w *worker) lookNow(ctx context.Context) {
	pod := w.current()
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if fromSecret(*v) || isOurs(*v) && w.n.d.republishes() {
			_ = w.mount(ctx, v) // told by an event; the next look tries again
		}
	}
}

func (w *worker) nextLook() <-chan time.Time {
	if w.n.d.timings.PodSync.Max <= 0 {
		return nil
	}
	return time.After(w.n.d.timings.PodSync.draw())
}

// startAll starts every container that waits, and reports whether none has to wait on.
func (w *worker) startAll(ctx context.Context) bool {
	all := true
	for _, s := range w.states {
		if !s.init && s.status.Waiting != nil && !w.startContainer(ctx, s) {
			all = false
		}
	}
	return all
}

// startContainer makes and starts one container and records what it found. It
// reports false if its environment cannot be made, and says so in its state.
func (w *worker) startContainer(ctx context.Context, s *state) bool {
	pod := w.current()
	env, err := environment(ctx, w.n.d.secretsOf(pod.Namespace), pod.Namespace, s.spec)
	if ctx.Err() != nil {
		return false
	}
	if err != nil {
		w.n.events.Eventf(pod, corev1.EventTypeWarning, "Failed", "Error: %v", err)
		w.set(s, waiting("CreateContainerConfigError", err.Error()))
		return false
	}
	now := w.n.now()
	start := newStart(pod, w.n.name, s.spec.Name)
	start.Init, start.Env, start.Files = s.init, env, w.files(s.spec, nil)
	start.StartedAt, start.At = now.Truncate(time.Second), w.n.d.cfg.Now()
	start.RestartCount = w.set(s, corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(now)}})
	w.n.d.truth.started(start)
	return true
}

// set gives a container its state and returns how often it has been started again.
func (w *worker) set(s *state, to corev1.ContainerState) (count int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s.status = to
	if to.Running != nil {
		if s.created {
			s.count++
		}
		s.created = true
	}
	return s.count
}

// files is what a container sees in its mounts now. What it saw at its start,
// if given, stays for mounts of a subPath.
func (w *worker) files(c *corev1.Container, atStart map[string]File) map[string]File {
	seen := map[string]File{}
	for _, m := range c.VolumeMounts {
		if m.SubPath == "" || atStart == nil {
			maps.Copy(seen, inContainer(m, w.content(m.Name)))
			continue
		}
		for path, f := range atStart {
			if path == m.MountPath || strings.HasPrefix(path, m.MountPath+"/") {
				seen[path] = f
			}
		}
	}
	return seen
}

// content is what one of the pod's volumes holds now.
func (w *worker) content(volume string) map[string]File {
	w.mu.Lock()
	files, ofSecrets := w.secrets[volume] // never changed, only replaced
	w.mu.Unlock()
	if !ofSecrets {
		files, _ = w.n.mountedFiles(targetPath(w.uid, volume))
	}
	return files
}

// runs and holds serve [Driver.Current].

func (w *worker) runs(container string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.states {
		if s.spec.Name == container {
			return s.status.Running != nil
		}
	}
	return false
}

func (w *worker) holds(s Start) map[string]File {
	for _, have := range w.states { // which containers there are never changes
		if have.spec.Name == s.Container {
			return w.files(have.spec, s.Files)
		}
	}
	return nil
}

// endContainer ends a running container.
func (w *worker) endContainer(s *state, code int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	reason := "Completed"
	if code != 0 {
		reason = "Error"
	}
	s.ready = false
	s.status = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: code, Reason: reason, StartedAt: s.status.Running.StartedAt, FinishedAt: metav1.NewTime(w.n.now()),
	}}
}

// crash asks the worker's goroutine to end a container and start it again.
func (w *worker) crash(ctx context.Context, container string) error {
	c := crash{container: container, done: make(chan error, 1)}
	select {
	case w.crashes <- c:
		return <-c.done
	case <-w.ended:
		return errors.New("the pod is being deleted or has finished")
	case <-ctx.Done():
		return fmt.Errorf("the pod's containers have not been started: %w", context.Cause(ctx))
	}
}

func (w *worker) crashNow(container string) error {
	for _, s := range w.states {
		if s.init || (container != "" && s.spec.Name != container) {
			continue
		}
		if s.status.Running == nil {
			return fmt.Errorf("container %s does not run", s.spec.Name)
		}
		w.endContainer(s, 1)
		w.mu.Lock()
		s.before, s.status = s.status, waiting("ContainerCreating", "")
		w.mu.Unlock()
		return nil
	}
	return fmt.Errorf("no container %q", container)
}

// makeReady reports whether it changed anything.
func (w *worker) makeReady() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	changed := false
	for _, s := range w.states {
		ready := s.status.Running != nil && w.pod.Annotations[NeverReady] != "true"
		changed = changed || ready != s.ready
		s.ready = ready
	}
	return changed
}

func (w *worker) completion() <-chan time.Time {
	pod := w.current()
	after, err := time.ParseDuration(pod.Annotations[CompleteAfter])
	if err != nil || pod.Spec.RestartPolicy == corev1.RestartPolicyAlways {
		return nil
	}
	return time.After(after)
}

// complete ends all containers, sidecars last.
func (w *worker) complete() {
	for _, s := range w.states {
		if s.status.Running != nil {
			w.endContainer(s, 0)
		}
	}
}
