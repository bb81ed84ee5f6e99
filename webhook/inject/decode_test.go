package inject

import (
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	kjson "sigs.k8s.io/json"

	"keyroll.dev/internal/annotation"
	"keyroll.dev/internal/golden"
	"keyroll.dev/internal/jsonread"
)

// wirePod is a pod as the API server's decoder reads it, with all that Pod has.
type wirePod struct {
	Metadata struct {
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec struct {
		ServiceAccountName string          `json:"serviceAccountName"`
		ServiceAccount     string          `json:"serviceAccount"`
		Automount          *bool           `json:"automountServiceAccountToken"`
		OS                 *wireName       `json:"os"`
		ImagePullSecrets   []wireName      `json:"imagePullSecrets"`
		Volumes            []wireVolume    `json:"volumes"`
		InitContainers     []wireContainer `json:"initContainers"`
		Containers         []wireContainer `json:"containers"`
	} `json:"spec"`
}

type wireName struct {
	Name string `json:"name"`
}

type wireVolume struct {
	Name string `json:"name"`
	CSI  *struct {
		Driver     string            `json:"driver"`
		ReadOnly   *bool             `json:"readOnly"`
		Attributes map[string]string `json:"volumeAttributes"`
	} `json:"csi"`
	Projected *struct {
		Sources []struct {
			Token *struct{} `json:"serviceAccountToken"`
		} `json:"sources"`
	} `json:"projected"`
}

type wireContainer struct {
	Name string `json:"name"`
	Env  []struct {
		Name string `json:"name"`
		From *struct {
			Secret *struct {
				Name string `json:"name"`
				Key  string `json:"key"`
			} `json:"secretKeyRef"`
		} `json:"valueFrom"`
	} `json:"env"`
	Mounts []struct {
		Name string `json:"name"`
		Path string `json:"mountPath"`
	} `json:"volumeMounts"`
}

// pod is the same as a Pod.
func (w wirePod) pod() Pod {
	p := Pod{
		Metadata: Metadata{
			Labels: keep(w.Metadata.Labels, ourLabel), Annotations: keep(w.Metadata.Annotations, ours),
			labelled: len(w.Metadata.Labels) > 0, annotated: len(w.Metadata.Annotations) > 0,
		},
		Spec: PodSpec{
			ServiceAccountName: w.Spec.ServiceAccountName, DeprecatedAccount: w.Spec.ServiceAccount, Automount: w.Spec.Automount,
			Volumes:        each(w.Spec.Volumes, wireVolume.volume),
			InitContainers: each(w.Spec.InitContainers, wireContainer.container),
			Containers:     each(w.Spec.Containers, wireContainer.container),
		},
	}
	p.Spec.ImagePullSecrets = each(w.Spec.ImagePullSecrets, func(n wireName) LocalName { return LocalName(n) })
	if w.Spec.OS != nil {
		p.Spec.OS = &PodOS{Name: w.Spec.OS.Name}
	}
	return p
}

func (w wireVolume) volume() Volume {
	v := Volume{Name: w.Name}
	if c := w.CSI; c != nil {
		v.CSI = &CSIVolume{Driver: c.Driver, ReadOnly: c.ReadOnly, Attributes: c.Attributes}
	}
	if w.Projected != nil {
		v.Projected = &ProjectedVolume{}
		for _, s := range w.Projected.Sources {
			v.Projected.Sources = append(v.Projected.Sources, ProjectedSource{Token: s.Token})
		}
		if w.Projected.Sources != nil && v.Projected.Sources == nil {
			v.Projected.Sources = []ProjectedSource{}
		}
	}
	return v
}

func (w wireContainer) container() Container {
	c := Container{Name: w.Name}
	if w.Env != nil {
		c.Env = []EnvVar{}
	}
	for _, e := range w.Env {
		v := EnvVar{Name: e.Name}
		if e.From != nil {
			v.From = &EnvSource{}
			if s := e.From.Secret; s != nil {
				v.From.Secret = &SecretKey{Name: s.Name, Key: s.Key}
			}
		}
		c.Env = append(c.Env, v)
	}
	if w.Mounts != nil {
		c.Mounts = []Mount{}
	}
	for _, m := range w.Mounts {
		c.Mounts = append(c.Mounts, Mount{Name: m.Name, Path: m.Path})
	}
	return c
}

func each[A, B any](list []A, convert func(A) B) []B {
	if list == nil {
		return nil
	}
	out := make([]B, 0, len(list))
	for _, a := range list {
		out = append(out, convert(a))
	}
	return out
}

func keep(m map[string]string, keep func([]byte) bool) map[string]string {
	if m == nil {
		return nil
	}
	out := map[string]string{}
	for key, value := range m {
		if keep([]byte(key)) {
			out[key] = value
		}
	}
	return out
}

// decodePod reads a pod that stands alone.
func decodePod(raw []byte) (Pod, error) {
	var p Pod
	var wrong error
	if err := jsonread.Read(raw, func(r *jsonread.Reader) { p, wrong = ReadPod(r) }); err != nil {
		return Pod{}, err
	}
	return p, wrong
}

// comparePod holds ReadPod against the API server's decoder. Where no
// environment is asked for, one that cannot be read does not matter.
func comparePod(t *testing.T, raw []byte) {
	t.Helper()
	var want wirePod
	wantErr := kjson.UnmarshalCaseSensitivePreserveInts(raw, &want)
	got, err := decodePod(raw)
	if err == nil {
		err = got.readEnv()
	}
	if (err != nil) != (wantErr != nil) {
		t.Fatalf("%s\nerror %v, want %v", raw, err, wantErr)
	}
	if err != nil {
		return
	}
	if wantPod := want.pod(); !reflect.DeepEqual(wantPod, got) {
		t.Fatalf("%s\n(-want +got):\n%s", raw, cmp.Diff(wantPod, got, cmp.AllowUnexported(Pod{}, Metadata{}, Container{})))
	}
}

// pods has each field that is read, in every form.
var pods = map[string]string{
	"nothing": `{}`,
	"null":    `null`,
	"no pod":  `{"spec":7}`,
	"no JSON": `{"spec":{}`,
	"all of it": `{"apiVersion":"v1","metadata":{"name":"web","labels":{"app":"web","keyroll.dev/injected":"true","azure.workload.identity/use":"false"},
		"annotations":{"keyroll.dev/objects":"a","kubernetes.io/config.mirror":"x","other":"y"}},
		"spec":{"serviceAccountName":"web","serviceAccount":"web","automountServiceAccountToken":false,"os":{"name":"windows"},
		"imagePullSecrets":[{"name":"pull"},{}],
		"volumes":[{"name":"v","csi":{"driver":"secrets-store.csi.k8s.io","readOnly":true,"volumeAttributes":{"secretProviderClass":"c"}}},
		{"name":"t","projected":{"defaultMode":420,"sources":[{"serviceAccountToken":{"path":"token"}},{"configMap":{}},{"serviceAccountToken":null}]}},{"emptyDir":{}}],
		"initContainers":[{"name":"i","env":[],"volumeMounts":[]}],
		"containers":[{"name":"c","image":"i","env":[{"name":"A","value":"a"},{"name":"B","valueFrom":{"secretKeyRef":{"name":"s","key":"k","optional":true}}},
		{"name":"C","valueFrom":{"fieldRef":{}}},{"name":"D","valueFrom":null}],"volumeMounts":[{"name":"v","mountPath":"/x","readOnly":true}]}]}}`,
	"nulls":                       `{"metadata":{"labels":null,"annotations":null},"spec":{"os":null,"volumes":[null,{"csi":null,"projected":null}],"containers":[{"env":null,"volumeMounts":null},null]}}`,
	"env twice is merged":         `{"spec":{"containers":[{"env":[{"name":"A","value":"a"}],"env":[{"valueFrom":{}},{"name":"B"}]}]}}`,
	"env and then null":           `{"spec":{"containers":[{"env":[{"name":"A"}],"env":null}]}}`,
	"containers twice are merged": `{"spec":{"containers":[{"name":"a","env":[{"name":"A"}]}],"containers":[{"env":[{"valueFrom":{}}]},{"name":"b"}]}}`,
	"an env of no use":            `{"spec":{"containers":[{"env":7}]}}`,
	"labels that are taken back":  `{"metadata":{"labels":{"a":"b"},"labels":null,"annotations":{"a":"b"},"annotations":{}}}`,
	"a number in a label":         `{"metadata":{"labels":{"a":1}}}`,
	"names in another case":       `{"Metadata":{"annotations":{"keyroll.dev/objects":"a"}},"Spec":{}}`,
}

func TestPodIsReadAsTheAPIServerDoes(t *testing.T) {
	for name, raw := range pods {
		t.Run(name, func(t *testing.T) { comparePod(t, []byte(raw)) })
	}
}

func FuzzReadPod(f *testing.F) {
	for _, raw := range pods {
		f.Add([]byte(raw))
	}
	for _, name := range golden.Cases(f, "testdata") {
		for _, o := range golden.Read(f, filepath.Join("testdata", name+".in.yaml")) {
			if o.Kind == "Pod" {
				f.Add(o.JSON)
			}
		}
	}
	f.Fuzz(comparePod)
}

// wireWorkload is a workload as the API server's decoder reads it.
type wireWorkload struct {
	Metadata struct {
		Annotations map[string]string `json:"annotations"`
		Deletion    *string           `json:"deletionTimestamp"`
		Owners      []struct {
			Controller *bool `json:"controller"`
		} `json:"ownerReferences"`
		Managers []struct {
			Operation   string   `json:"operation"`
			Subresource string   `json:"subresource"`
			Fields      kjsonRaw `json:"fieldsV1"`
		} `json:"managedFields"`
	} `json:"metadata"`
	Spec struct {
		Template    kjsonRaw `json:"template"`
		JobTemplate struct {
			Spec struct {
				Template kjsonRaw `json:"template"`
			} `json:"spec"`
		} `json:"jobTemplate"`
	} `json:"spec"`
}

// kjsonRaw keeps a value as it stands.
type kjsonRaw []byte

func (r *kjsonRaw) UnmarshalJSON(text []byte) error {
	*r = append([]byte{}, text...)
	return nil
}

func (w wireWorkload) metadata() WorkloadMetadata {
	m := WorkloadMetadata{Annotations: w.Metadata.Annotations, Deletion: w.Metadata.Deletion}
	if w.Metadata.Owners != nil {
		m.Owners = []owner{}
	}
	for _, o := range w.Metadata.Owners {
		m.Owners = append(m.Owners, owner{Controller: o.Controller})
	}
	if w.Metadata.Managers != nil {
		m.Managers = []manager{}
	}
	for _, o := range w.Metadata.Managers {
		m.Managers = append(m.Managers, manager{Operation: o.Operation, Subresource: o.Subresource, Fields: o.Fields})
	}
	return m
}

func compareWorkload(t *testing.T, raw []byte) {
	t.Helper()
	var want wireWorkload
	wantErr := kjson.UnmarshalCaseSensitivePreserveInts(raw, &want)
	var got templated
	err := got.decode(raw)
	if (err != nil) != (wantErr != nil) {
		t.Fatalf("%s\nerror %v, want %v", raw, err, wantErr)
	}
	if err != nil {
		return
	}
	wanted := templated{metadata: want.metadata(), template: want.Spec.Template, jobTemplate: want.Spec.JobTemplate.Spec.Template}
	if diff := cmp.Diff(wanted, got, cmp.AllowUnexported(templated{})); diff != "" {
		t.Fatalf("%s\n(-want +got):\n%s", raw, diff)
	}
}

func FuzzDecodeWorkload(f *testing.F) {
	f.Add([]byte(`{"metadata":{"annotations":{"a":"b"},"deletionTimestamp":"2026-01-01T00:00:00Z","ownerReferences":[{"controller":true},{"controller":null},{}],` +
		`"managedFields":[{"operation":"Apply","subresource":"status","fieldsV1":{"f:a":{}}},{"fieldsV1":null},null]},"spec":{"replicas":1,"template":{"a":1},"jobTemplate":{"spec":{"template":null}}}}`))
	f.Add([]byte(`{"metadata":null,"spec":{"template":null,"jobTemplate":{"spec":{"template":{}},"spec":{"template":[ 1 ]}}}}`))
	for _, name := range golden.Cases(f, "testdata") {
		for _, o := range golden.Read(f, filepath.Join("testdata", name+".in.yaml")) {
			f.Add(o.JSON)
		}
	}
	f.Fuzz(compareWorkload)
}

// The environment is looked at where variables are asked for, and only there.
func TestEnvironmentIsReadWhereItIsAskedFor(t *testing.T) {
	tests := map[string]struct {
		metadata, template string // annotations
		want               int    // variables read
	}{
		"not asked for":             {`{}`, `{"keyroll.dev/objects":"a"}`, 0},
		"asked for by the pod":      {`{}`, `{"keyroll.dev/env":"A=a"}`, 1},
		"asked for on the workload": {`{"keyroll.dev/env":"A=a"}`, `null`, 1},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			template := `{"metadata":{"annotations":` + tc.template + `},"spec":{"containers":[{"name":"c","env":[{"name":"A","value":"a"}]}]}}`
			w, err := DecodeWorkload("Deployment", []byte(`{"metadata":{"annotations":`+tc.metadata+`},"spec":{"template":`+template+`}}`))
			if err != nil {
				t.Fatal(err)
			}
			if got := len(w.Pod.Spec.Containers[0].Env); got != tc.want {
				t.Errorf("workload: %d variables, want %d", got, tc.want)
			}
			if tc.metadata != `{}` {
				return
			}
			pod, err := decodePod([]byte(template))
			if err != nil {
				t.Fatal(err)
			}
			if got := len(pod.Spec.Containers[0].Env); got != tc.want {
				t.Errorf("pod: %d variables, want %d", got, tc.want)
			}
		})
	}
	if _, err := decodePod([]byte(`{"metadata":{"annotations":{"keyroll.dev/env":"A=a"}},"spec":{"containers":[{"name":"c","env":7}]}}`)); err == nil {
		t.Error("no error for an environment that is none")
	}
}

// A patch must not put a new map in the place of one whose entries are not read.
func TestForeignLabelsAndAnnotationsSurvive(t *testing.T) {
	c := newCluster(t)
	raw := []byte(`{"metadata":{"labels":{"app":"web"},"annotations":{"keyroll.dev/objects":"db-password","other":"x"}},"spec":{"serviceAccountName":"web","containers":[{"name":"app"}]}}`)
	plan := c.plan(t, raw)
	if plan.Reason != Injected {
		t.Fatalf("reason %s: %v", plan.Reason, plan.Problems)
	}
	for _, op := range plan.Patch() {
		if op.Path == "/metadata/labels" || op.Path == "/metadata/annotations" {
			t.Errorf("%s replaces what is there", op.Path)
		}
	}
	pod, err := decodePod(apply(t, raw, plan.Patch()))
	if err != nil {
		t.Fatal(err)
	}
	if pod.Metadata.Annotations[annotation.Dependencies] == "" || pod.Metadata.Labels[annotation.InjectedLabel] != labelOn {
		t.Error("the record or the label is not there")
	}
}

// What is not read costs no memory, whatever its size and number.
func TestUnreadFieldsCostNoMemory(t *testing.T) {
	allocations := func(n int) float64 {
		raw := fmt.Appendf(nil, `{"metadata":{"labels":{%[1]s"app":"web"},"annotations":{%[1]s"keyroll.dev/objects":"a","other":"%[2]s"},"managedFields":[{"f":{%[1]s"a":1}}]},
			"spec":{"hostAliases":[%[3]s{}],"containers":[{"name":"c","args":[%[3]s{}],"env":[%[3]s{}],"volumeMounts":[{"name":"v","mountPath":"/v","subPath":"%[2]s"}]}]}}`,
			strings.Repeat(`"a\u00e9":"b\n",`, n), strings.Repeat("x", n), strings.Repeat(`{"name":"A","value":"a"},`, n))
		return testing.AllocsPerRun(20, func() {
			if _, err := decodePod(raw); err != nil {
				t.Error(err)
			}
		})
	}
	// Under the race detector a sync.Pool drops what it is given now and then,
	// and the decoder is then made anew: a few allocations more, for none of the things.
	const slack = 100
	if few, many := allocations(1), allocations(10_000); many > few+slack {
		t.Errorf("%v allocations beside 10,000 things that are not read, %v beside one", many, few)
	}
}
