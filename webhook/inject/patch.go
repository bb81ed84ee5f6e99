package inject

import (
	"slices"
	"strconv"
	"strings"

	"gomodules.xyz/jsonpatch/v2"
	corev1 "k8s.io/api/core/v1"

	"keyroll.dev/internal/annotation"
	"keyroll.dev/internal/secretsstore"
)

// patch collects JSON patch operations, in the order in which they are applied.
type patch []jsonpatch.Operation

func (p *patch) add(path string, value any) { p.do("add", path, value) }
func (p *patch) remove(path string)         { p.do("remove", path, nil) }
func (p *patch) do(op, path string, value any) {
	*p = append(*p, jsonpatch.NewOperation(op, path, value))
}

// set sets keys of a map of strings, creating the map where the object has none.
func (p *patch) set(path string, exists bool, want map[string]string) {
	switch {
	case len(want) == 0:
	case !exists:
		p.add(path, want)
	default:
		for _, key := range sortedKeys(want) {
			p.add(path+"/"+escape(key), want[key])
		}
	}
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// escape writes a map key as a part of a JSON pointer (RFC 6901).
func escape(key string) string {
	return strings.ReplaceAll(strings.ReplaceAll(key, "~", "~0"), "/", "~1")
}

// Patch answers the operations that carry out the plan on the pod that it was
// made for. Lists are only appended to, but for two things: the environment
// that we add goes before the container's own, because a variable can refer
// to those before it, as in $(DB_PASSWORD); and what must go is removed by its
// index, from the end.
func (p Plan) Patch() []jsonpatch.Operation { return p.ops }

func (p Plan) operations() []jsonpatch.Operation {
	const others = 8 // operations besides those on containers, nearly always
	ops := make(patch, 0, others+2*len(p.additions))
	p.patchAccount(&ops)
	p.patchVolumes(&ops)
	for _, a := range p.additions {
		p.patchContainer(&ops, a)
	}
	ops.set("/metadata/labels", p.pod.Metadata.labelled, p.labels)
	if p.annotation != "" {
		ops.set("/metadata/annotations", p.pod.Metadata.annotated, map[string]string{annotation.Dependencies: p.annotation})
	}
	return ops
}

func (p Plan) patchAccount(ops *patch) {
	if p.account == nil {
		return
	}
	ops.add("/spec/serviceAccountName", p.account.name)
	ops.add("/spec/serviceAccount", p.account.name)
	if p.account.pullSecrets != nil {
		p.patchPullSecrets(ops, *p.account.pullSecrets)
	}
	if p.account.tokenVolume != "" {
		p.removeToken(ops, p.account.tokenVolume)
	}
}

func (p Plan) patchPullSecrets(ops *patch, names []string) {
	if len(names) == 0 {
		ops.remove("/spec/imagePullSecrets")
		return
	}
	refs := make([]corev1.LocalObjectReference, 0, len(names))
	for _, name := range names {
		refs = append(refs, corev1.LocalObjectReference{Name: name})
	}
	ops.add("/spec/imagePullSecrets", refs)
}

// removeToken removes the volume and every mount of it.
func (p Plan) removeToken(ops *patch, volume string) {
	for i, v := range slices.Backward(p.pod.Spec.Volumes) {
		if v.Name == volume {
			ops.remove("/spec/volumes/" + strconv.Itoa(i))
		}
	}
	for _, c := range p.pod.Spec.all() {
		for i, m := range slices.Backward(c.Mounts) {
			if m.Name == volume {
				ops.remove(c.path + "/volumeMounts/" + strconv.Itoa(i))
			}
		}
	}
}

func (p Plan) patchVolumes(ops *patch) {
	if p.volume == "" {
		return
	}
	readOnly := true
	volume := corev1.Volume{Name: p.volume, VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{
		Driver:           secretsstore.DriverName,
		ReadOnly:         &readOnly, // the driver refuses anything else
		VolumeAttributes: map[string]string{secretsstore.ClassAttribute: p.Record.SecretProviderClass},
	}}}
	if len(p.pod.Spec.Volumes) == 0 {
		ops.add("/spec/volumes", []corev1.Volume{volume})
		return
	}
	ops.add("/spec/volumes/-", volume)
}

func (p Plan) patchContainer(ops *patch, a addition) {
	env := make([]corev1.EnvVar, 0, len(a.env))
	for _, e := range a.env {
		env = append(env, corev1.EnvVar{Name: e.name, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: e.from.Name},
			Key:                  e.from.Key,
		}}})
	}
	switch {
	case len(env) == 0:
	case len(a.Env) == 0:
		ops.add(a.path+"/env", env)
	default:
		for i, e := range env {
			ops.add(a.path+"/env/"+strconv.Itoa(i), e)
		}
	}
	if !a.mount {
		return
	}
	mount := corev1.VolumeMount{Name: p.mount, ReadOnly: true, MountPath: p.path}
	if len(a.Mounts) == 0 {
		ops.add(a.path+"/volumeMounts", []corev1.VolumeMount{mount})
		return
	}
	ops.add(a.path+"/volumeMounts/-", mount)
}
