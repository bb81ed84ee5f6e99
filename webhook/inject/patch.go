package inject

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"gomodules.xyz/jsonpatch/v2"

	"keyroll.dev/internal/annotation"
	"keyroll.dev/internal/dependency"
	"keyroll.dev/internal/jsonwrite"
	"keyroll.dev/internal/secretsstore"
)

// Patch is JSON patch operations, in the order in which they are applied. Their
// values are JSON already.
type Patch []jsonpatch.Operation

// Append appends the patch as JSON.
func (p Patch) Append(b []byte) []byte { return jsonwrite.List(b, p, appendOperation) }

func appendOperation(b []byte, o jsonpatch.Operation) []byte {
	b = jsonwrite.String(append(b, `{"op":`...), o.Operation)
	b = jsonwrite.String(append(b, `,"path":`...), o.Path)
	if value, ok := o.Value.(json.RawMessage); ok {
		b = append(append(b, `,"value":`...), value...)
	}
	return append(b, '}')
}

func (p *Patch) add(path string, value json.RawMessage) {
	*p = append(*p, jsonpatch.NewOperation("add", path, value))
}

func (p *Patch) remove(path string) {
	*p = append(*p, jsonpatch.NewOperation("remove", path, nil))
}

// set sets keys of a map of strings, creating the map where the object has none.
func (p *Patch) set(path string, exists bool, want map[string]string) {
	switch {
	case len(want) == 0:
	case !exists:
		p.add(path, jsonwrite.Strings(nil, want))
	default:
		for _, key := range slices.Sorted(maps.Keys(want)) {
			p.add(path+"/"+escape(key), text(want[key]))
		}
	}
}

// escape writes a map key as a part of a JSON pointer (RFC 6901).
func escape(key string) string {
	return strings.ReplaceAll(strings.ReplaceAll(key, "~", "~0"), "/", "~1")
}

// Patch answers the operations that carry out the plan on the pod that it was
// made for. Lists are only appended to, but for three things: the environment
// that we add goes before the container's own, because a variable can refer
// to those before it, as in $(DB_PASSWORD); what must go is removed by its
// index, from the end; and what is ours, of an outdated class, is changed where
// it stands.
func (p Plan) Patch() Patch { return p.patch }

func (p Plan) operations() Patch {
	const others = 8 // operations besides those on containers, nearly always
	ops := make(Patch, 0, others+2*len(p.additions))
	p.turned.patch(&ops, p.Record)
	p.patchAccount(&ops)
	p.patchVolumes(&ops)
	mount := mountValue(p.mount, p.path)
	for _, a := range p.additions {
		a.patch(&ops, mount)
	}
	ops.set("/metadata/labels", p.pod.Metadata.labelled, p.labels)
	if p.annotation != "" {
		ops.set("/metadata/annotations", p.pod.Metadata.annotated, map[string]string{annotation.Dependencies: p.annotation})
	}
	return ops
}

// turned is what a pod's volume of an outdated class is changed with. It is so
// before anything is added or removed, while indices are those of the pod.
type turned struct {
	from      string // the class; "" : there is none
	volume    int
	variables []string // JSON pointers to those that are taken from its Secret
}

func (t turned) patch(ops *Patch, r dependency.Record) {
	if t.from == "" {
		return
	}
	ops.add("/spec/volumes/"+strconv.Itoa(t.volume)+"/csi/volumeAttributes/"+secretsstore.ClassAttribute, text(r.SecretProviderClass))
	for _, variable := range t.variables {
		ops.add(variable+"/valueFrom/secretKeyRef/name", text(r.Secret))
	}
}

func (p Plan) patchAccount(ops *Patch) {
	if p.account == nil {
		return
	}
	name := text(p.account.name)
	ops.add("/spec/serviceAccountName", name)
	ops.add("/spec/serviceAccount", name)
	switch secrets := p.account.pullSecrets; {
	case secrets == nil:
	case len(*secrets) == 0:
		ops.remove("/spec/imagePullSecrets")
	default:
		ops.add("/spec/imagePullSecrets", jsonwrite.List(nil, *secrets, appendName))
	}
	if p.account.tokenVolume != "" {
		p.removeToken(ops, p.account.tokenVolume)
	}
}

// removeToken removes the volume and every mount of it.
func (p Plan) removeToken(ops *Patch, volume string) {
	for i, v := range slices.Backward(p.pod.Spec.Volumes) {
		if v.Name == volume {
			ops.remove("/spec/volumes/" + strconv.Itoa(i))
		}
	}
	for _, c := range p.pod.Spec.all() {
		for i, m := range slices.Backward(c.Mounts) {
			if m.Name == volume {
				ops.remove(c.path() + "/volumeMounts/" + strconv.Itoa(i))
			}
		}
	}
}

func (p Plan) patchVolumes(ops *Patch) {
	if p.volume != "" {
		ops.add(end("/spec/volumes", len(p.pod.Spec.Volumes), volumeValue(p.volume, p.Record.SecretProviderClass)))
	}
}

// patch gives the container what it lacks: variables, and the mount.
func (a addition) patch(ops *Patch, mount json.RawMessage) {
	path := a.path()
	switch {
	case len(a.env) == 0:
	case len(a.Env) == 0:
		ops.add(path+"/env", jsonwrite.List(nil, a.env, appendVariable))
	default:
		for i, e := range a.env {
			ops.add(path+"/env/"+strconv.Itoa(i), appendVariable(nil, e))
		}
	}
	if a.mount {
		ops.add(end(path+"/volumeMounts", len(a.Mounts), mount))
	}
}

// end is where value comes to the end of a list that has some elements, and the
// list with it alone of one that has none.
func end(path string, elements int, value json.RawMessage) (string, json.RawMessage) {
	if elements == 0 {
		return path, slices.Concat(json.RawMessage{'['}, value, json.RawMessage{']'})
	}
	return path + "/-", value
}
