package driver

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// File is what one file holds and where it came from.
type File struct {
	ID      string // the object's id, "secret/db-password"; "" for a file of a Secret volume
	Version string
	Secret  string // the Secret's name, for a file of a Secret volume
	Value   string
}

// Start is the truth about one start of one container: what it could read at that moment.
type Start struct {
	Namespace    string
	Pod          string
	UID          types.UID
	Node         string
	Owner        string // controller as "ReplicaSet/web-5d4f"; "" for none
	Labels       map[string]string
	Annotations  map[string]string
	Container    string
	Init         bool
	RestartCount int32
	StartedAt    time.Time       // as in the container's status: the node's clock, in whole seconds
	At           time.Time       // the test's own clock
	Files        map[string]File // by path in the container, from volumes of the driver and of Secrets
	Env          map[string]string
}

// Holding is what one container of a live pod can read now: Files as they are,
// Env as it was at its start. The files at its start are Start.Files.
type Holding struct {
	Start
	Files map[string]File
}

// truth remembers every start.
type truth struct {
	mu     sync.Mutex
	starts []Start
	live   map[types.UID]*worker
}

func newTruth() *truth { return &truth{live: map[types.UID]*worker{}} }

func (r *truth) started(s Start) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.starts = append(r.starts, s)
}

func (r *truth) add(w *worker) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.live[w.uid] = w
}

func (r *truth) remove(w *worker) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.live, w.uid)
}

func (r *truth) snapshot(namespace string) ([]Start, map[types.UID]*worker) {
	r.mu.Lock()
	defer r.mu.Unlock()
	starts := slices.DeleteFunc(slices.Clone(r.starts), func(s Start) bool { return s.Namespace != namespace })
	return starts, maps.Clone(r.live)
}

// Starts returns every start of a container in the namespace, of live and of
// bygone pods, in the order in which they happened.
func (d *Driver) Starts(namespace string) []Start {
	starts, _ := d.truth.snapshot(namespace)
	return starts
}

// Current returns what the containers of the namespace's live pods hold, in the
// order of pod and container names: the last start of each, and its files as
// they are now. Pods that are being deleted or have finished are not live, and
// init containers that have ended are left out.
func (d *Driver) Current(namespace string) []Holding {
	starts, live := d.truth.snapshot(namespace)
	last := map[string]Start{}
	for _, s := range starts {
		if w := live[s.UID]; w != nil && w.runs(s.Container) {
			last[string(s.UID)+"/"+s.Container] = s
		}
	}
	var all []Holding
	for _, s := range last {
		all = append(all, Holding{Start: s, Files: live[s.UID].holds(s)})
	}
	slices.SortFunc(all, func(a, b Holding) int {
		return cmp.Or(cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.Container, b.Container))
	})
	return all
}

// Versions returns id to version of the files that the driver delivered.
func (s Start) Versions() map[string]string { return versionsOf(s.Files) }

// Versions returns id to version of the files as they are now.
func (h Holding) Versions() map[string]string { return versionsOf(h.Files) }

func versionsOf(files map[string]File) map[string]string {
	versions := map[string]string{}
	for _, f := range files {
		if f.ID != "" {
			versions[f.ID] = f.Version
		}
	}
	return versions
}

func newStart(pod *corev1.Pod, node, container string) Start {
	owner := ""
	if o := metav1.GetControllerOf(pod); o != nil {
		owner = o.Kind + "/" + o.Name
	}
	return Start{
		Namespace: pod.Namespace, Pod: pod.Name, UID: pod.UID, Node: node, Owner: owner,
		Labels: maps.Clone(pod.Labels), Annotations: maps.Clone(pod.Annotations), Container: container,
		Files: map[string]File{}, Env: map[string]string{},
	}
}
