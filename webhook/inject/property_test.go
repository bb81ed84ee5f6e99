package inject

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keyroll.dev/internal/annotation"
	"keyroll.dev/internal/dependency"
	"keyroll.dev/internal/secretsstore"
)

// object is JSON of unknown content.
type object = map[string]any

// TestOnlyWhatIsNamedDiffers injects random pods that hold, at every level,
// fields that no type of ours knows, takes away again what the contract names,
// and expects the pod that went in.
func TestOnlyWhatIsNamedDiffers(t *testing.T) {
	injected := 0
	c := newCluster(t)
	for seed := range uint64(3000) {
		if checkRandomPod(t, c, seed) {
			injected++
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	if injected < 500 {
		t.Errorf("only %d pods were injected: the test looks at too little", injected)
	}
}

func FuzzOnlyWhatIsNamedDiffers(f *testing.F) {
	f.Add(uint64(1))
	c := newCluster(f)
	f.Fuzz(func(t *testing.T, seed uint64) { checkRandomPod(t, c, seed) })
}

// checkRandomPod checks one pod in a variant of the cluster.
func checkRandomPod(t *testing.T, shop *cluster, seed uint64) (injected bool) {
	t.Helper()
	g := &generator{rand.New(rand.NewPCG(seed, 17))}
	c, web := *shop, *shop.accounts["web"]
	web.Automount = pick(g, nil, ptr(true), ptr(false))
	web.ImagePullSecrets = pick(g, nil, []string{"new"})
	standard := dependency.ServiceAccount{Name: "default", ImagePullSecrets: pick(g, nil, []string{"a", "b"})}
	c.accounts = map[string]*dependency.ServiceAccount{"web": &web, "default": &standard}

	raw := encode(t, g.pod())
	plan := c.plan(t, raw)
	ops := plan.Patch()
	if len(plan.Problems) > 0 && len(ops) > 0 {
		t.Errorf("refused, yet patched: %v", ops)
	}
	patched := apply(t, raw, ops)
	if again := c.plan(t, patched); len(again.Problems) != len(plan.Problems) || len(again.Patch()) > 0 {
		t.Errorf("second pass: problems %v, patch %v", again.Problems, again.Patch())
	}
	if plan.Reason != Injected {
		if !bytes.Equal(raw, patched) {
			t.Errorf("%s, yet changed", plan.Reason)
		}
		return false
	}
	before, after := parse(t, raw), parse(t, patched)
	without := parse(t, patched)
	takeAway(without, before, plan)
	if diff := cmp.Diff(normal(dropToken(before, plan)), normal(without)); diff != "" {
		t.Errorf("differs beyond the contract (-before +after):\n%s", diff)
	}
	checkInjected(t, after, plan)
	return true
}

// takeAway removes from an injected pod what the contract names, and puts what
// was replaced back to what it was before.
func takeAway(after, before object, plan Plan) {
	restore := func(path []string, key string) {
		from, to := dig(before, path), dig(after, path)
		if value, had := from[key]; had {
			to[key] = value
		} else {
			delete(to, key)
		}
	}
	restore([]string{"metadata", "annotations"}, annotation.Dependencies)
	restore([]string{"metadata", "labels"}, annotation.InjectedLabel)
	restore([]string{"metadata", "labels"}, annotation.IdentityUseLabel)
	for _, key := range []string{"serviceAccountName", "serviceAccount", "imagePullSecrets"} {
		if plan.account != nil {
			restore([]string{"spec"}, key)
		}
	}
	spec := after["spec"].(object)
	if plan.turned.from != "" {
		i := slices.IndexFunc(list(spec, "volumes"), func(o object) bool { return o["name"] == plan.mount })
		dig(list(spec, "volumes")[i], []string{"csi", "volumeAttributes"})[secretsstore.ClassAttribute] = plan.turned.from
	}
	if plan.volume != "" {
		drop(spec, "volumes", func(o object) bool { return o["name"] == plan.volume })
	}
	for _, a := range plan.additions {
		container := at(after, a.path())
		drop(container, "env", func(o object) bool {
			return slices.ContainsFunc(a.env, func(e envVar) bool { return e.name == o["name"] })
		})
		if a.mount {
			mounts := container["volumeMounts"].([]any)
			container["volumeMounts"] = mounts[:len(mounts)-1] // it was appended
		}
	}
	for _, path := range plan.turned.variables {
		dig(variable(after, path), []string{"valueFrom", "secretKeyRef"})["name"] = plan.turned.from
	}
}

// dropToken removes from a pod the token that goes with a new account.
func dropToken(pod object, plan Plan) object {
	if plan.account == nil || plan.account.tokenVolume == "" {
		return pod
	}
	is := func(o object) bool { return o["name"] == plan.account.tokenVolume }
	drop(pod["spec"].(object), "volumes", is)
	for _, c := range containersOf(pod) {
		drop(c, "volumeMounts", is)
	}
	return pod
}

// checkInjected looks at an injected pod as the kubelet will.
func checkInjected(t *testing.T, pod object, plan Plan) {
	t.Helper()
	volumes := map[string]int{}
	holding := 0
	for _, v := range list(pod["spec"].(object), "volumes") {
		name, _ := v["name"].(string)
		volumes[name]++
		csi, _ := v["csi"].(object)
		attributes, _ := csi["volumeAttributes"].(object)
		if attributes[secretsstore.ClassAttribute] == plan.Record.SecretProviderClass {
			holding++
		}
	}
	if holding != 1 {
		t.Errorf("%d volumes hold the class, want 1", holding)
	}
	for name, n := range volumes {
		if n > 1 && strings.HasPrefix(name, volumeName) {
			t.Errorf("%d volumes are called %s", n, name)
		}
	}
	for _, a := range plan.additions {
		mounts := 0
		for _, m := range list(at(pod, a.path()), "volumeMounts") {
			if m["mountPath"] == plan.path {
				mounts++
			}
		}
		if a.mount && mounts != 1 {
			t.Errorf("container %v mounts %d volumes at %s", a.Name, mounts, plan.path)
		}
	}
	if got := dig(pod, []string{"metadata", "annotations"})[annotation.Dependencies]; got != plan.Record.Encode() {
		t.Errorf("record is %v", got)
	}
}

// outdatedClass is one that no pod of the generator's is to have.
const outdatedClass = "keyroll-0123456789abcdef0123456789abcdef"

// generator makes random pods. Names are few, so that they clash.
type generator struct{ *rand.Rand }

func (g *generator) pod() object {
	annotations := object{annotation.Objects: pick(g, "db-password", "db-password,cert/front", "db_password")}
	g.maybe(annotations, annotation.ServiceAccount, pick[any](g, "web", "web", "nobody"))
	g.maybe(annotations, annotation.MountPath, pick[any](g, "/a", "/mnt/other"))
	g.maybe(annotations, annotation.Env, pick[any](g, "A=db-password", "A=db-password,B=db-password", "B=db-password"))
	g.maybe(annotations, annotation.Containers, pick[any](g, "c0", "c0,c1", "i0", "c9"))
	g.maybe(annotations, annotation.WorkloadIdentity, "false")
	g.maybe(annotations, annotation.Dependencies, "forged")
	g.maybe(annotations, "example.com/a~b", "kept")
	metadata := object{"annotations": annotations, "managedFields": []any{object{"x": g.unknown(2)}}}
	g.maybe(metadata, "labels", pick[any](g, nil, object{}, object{"app": "web"},
		object{annotation.InjectedLabel: "no"}, object{annotation.IdentityUseLabel: pick(g, "true", "false")}))
	spec := object{"containers": g.containers("c", 1+g.IntN(3))}
	g.maybe(spec, "serviceAccountName", pick[any](g, "default", "default", "web"))
	g.maybe(spec, "serviceAccount", "default")
	g.maybe(spec, "automountServiceAccountToken", pick[any](g, nil, true, false))
	g.maybe(spec, "os", object{"name": pick(g, "linux", "windows"), "x": g.unknown(1)})
	g.maybe(spec, "initContainers", pick[any](g, nil, g.containers("i", g.IntN(3))))
	g.maybe(spec, "imagePullSecrets", pick[any](g, nil, []any{}, []any{object{"name": "a"}, object{"name": "b"}}, []any{object{"name": "mine"}}))
	g.maybe(spec, "volumes", pick[any](g, nil, g.volumes()))
	return g.strange(object{"apiVersion": "v1", "kind": "Pod", "metadata": g.strange(metadata), "spec": g.strange(spec)})
}

func (g *generator) containers(prefix string, n int) []any {
	all := []any{}
	for i := range n {
		c := object{"name": fmt.Sprint(prefix, i)}
		g.maybe(c, "restartPolicy", "Always")
		g.maybe(c, "env", pick[any](g, nil, g.env()))
		g.maybe(c, "volumeMounts", pick[any](g, nil, g.mounts()))
		all = append(all, g.strange(c))
	}
	return all
}

func (g *generator) env() []any {
	all := []any{}
	for range g.IntN(3) {
		e := object{"name": pick(g, "A", "C", "D")}
		g.maybe(e, "value", "x")
		g.maybe(e, "valueFrom", object{"secretKeyRef": object{"name": pick(g, "s", outdatedClass), "key": pick(g, "k", "db-password")}, "futureRef": g.unknown(1)})
		all = append(all, g.strange(e))
	}
	return all
}

func (g *generator) mounts() []any {
	all := []any{}
	for range g.IntN(4) {
		path := pick(g, "/a", "/b", "/mnt/secrets", `C:\a`, tokenMountPath)
		all = append(all, g.strange(object{"name": pick(g, "keyroll", "data", "kube-api-access-x7k2p"), "mountPath": path}))
	}
	return all
}

func (g *generator) volumes() []any {
	token := object{"projected": object{"sources": []any{object{"serviceAccountToken": object{"path": "token"}}, object{"futureSource": g.unknown(1)}}}}
	all := []any{}
	for range g.IntN(4) {
		v := pick(g,
			object{"name": "data", "emptyDir": object{}},
			object{"name": "keyroll", "futureSource": g.unknown(1)},
			object{"name": "kube-api-access-x7k2p", "projected": token["projected"]},
			object{"name": pick(g, "keyroll", "keyroll-2"), "csi": g.strange(object{
				"driver": secretsstore.DriverName, "volumeAttributes": object{"secretProviderClass": outdatedClass, "x": "y"},
			})},
			object{"name": "own", "csi": object{"driver": secretsstore.DriverName, "volumeAttributes": object{"secretProviderClass": "own"}}})
		if !slices.ContainsFunc(all, func(o any) bool { return o.(object)["name"] == v["name"] }) {
			all = append(all, g.strange(v))
		}
	}
	return all
}

// strange adds fields that our types do not know, also ones that differ from
// known ones by case alone.
func (g *generator) strange(o object) object {
	for range g.IntN(3) {
		o[pick(g, "futureField", "Name", "Annotations", "VolumeMounts", "ENV", "x~/y")] = g.unknown(3)
	}
	return o
}

func (g *generator) unknown(depth int) any {
	switch n := g.IntN(8); {
	case n == 0 && depth > 0:
		return object{"k": g.unknown(depth - 1), "name": g.unknown(depth - 1)}
	case n == 1 && depth > 0:
		return []any{g.unknown(depth - 1), g.unknown(depth - 1)}
	case n == 2:
		return json.Number("9007199254740993") // more than a float64 holds
	case n == 3:
		return json.Number("1.50")
	case n == 4:
		return nil
	case n == 5:
		return "<é\u2028\x00>"
	}
	return true
}

func (g *generator) maybe(o object, key string, value any) {
	if g.IntN(2) == 0 {
		o[key] = value
	}
}

func pick[T any](g *generator, values ...T) T { return values[g.IntN(len(values))] }

func ptr[T any](v T) *T { return &v }

func encode(t *testing.T, o object) []byte {
	t.Helper()
	raw, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func parse(t *testing.T, raw []byte) object {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var o object
	if err := decoder.Decode(&o); err != nil {
		t.Fatal(err)
	}
	return o
}

// dig answers the object at a path, an empty one where there is none.
func dig(o object, path []string) object {
	for _, key := range path {
		o, _ = o[key].(object)
	}
	if o == nil {
		return object{}
	}
	return o
}

// at answers the container at a JSON pointer like /spec/containers/0.
func at(pod object, pointer string) object {
	parts := strings.Split(pointer, "/")
	var i int
	if _, err := fmt.Sscan(parts[3], &i); err != nil {
		panic(err)
	}
	return pod["spec"].(object)[parts[2]].([]any)[i].(object)
}

// variable answers the one at a JSON pointer like /spec/containers/0/env/1.
func variable(pod object, pointer string) object {
	i, err := strconv.Atoi(pointer[strings.LastIndex(pointer, "/")+1:])
	if err != nil {
		panic(err)
	}
	return at(pod, pointer)["env"].([]any)[i].(object)
}

func list(o object, key string) []object {
	items, _ := o[key].([]any)
	objects := make([]object, 0, len(items))
	for _, item := range items {
		if o, ok := item.(object); ok {
			objects = append(objects, o)
		}
	}
	return objects
}

func containersOf(pod object) []object {
	spec := pod["spec"].(object)
	return append(list(spec, "initContainers"), list(spec, "containers")...)
}

func drop(o object, key string, is func(object) bool) {
	items, ok := o[key].([]any)
	if !ok {
		return
	}
	o[key] = slices.DeleteFunc(slices.Clone(items), func(item any) bool { return is(item.(object)) })
}

// normal makes equal what means the same where lists and maps are created and
// emptied: absent, null and empty.
func normal(pod object) object {
	tidy := func(o object, keys ...string) {
		for _, key := range keys {
			if v := o[key]; v == nil || reflect.ValueOf(v).Kind() != reflect.String && reflect.ValueOf(v).Len() == 0 {
				delete(o, key)
			}
		}
	}
	tidy(dig(pod, []string{"metadata"}), "labels", "annotations")
	tidy(dig(pod, []string{"spec"}), "volumes", "imagePullSecrets")
	for _, c := range containersOf(pod) {
		tidy(c, "env", "volumeMounts")
	}
	return pod
}
