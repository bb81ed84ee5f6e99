package watcher

import (
	corev1 "k8s.io/api/core/v1"

	"keyroll.dev/internal/secretsstore"
)

// use tells how a pod consumes a Secret.
type use int

const (
	// asFiles: through a volume that kubelet keeps up to date.
	asFiles use = iota + 1
	// atStart: through the environment or a subPath mount, so what a container
	// started with is what it keeps.
	atStart
)

// references is what a pod spec takes its secret content from.
type references struct {
	classes []string       // SecretProviderClasses that it mounts, one for each volume that a container mounts
	secrets map[string]use // Secrets by name; nil for none
	// consumers are the containers that take any of these.
	consumers map[string]bool
	// principal: a volume names credentials of its own in nodePublishSecretRef.
	principal bool
}

// source is what one volume offers.
type source struct {
	class   string
	secrets []string
}

// take notes a Secret, by the way that binds most.
func (r *references) take(secret string, how use) {
	if r.secrets == nil {
		r.secrets = map[string]use{}
	}
	r.secrets[shared(secret)] = max(r.secrets[secret], how)
}

// referencesOf reads a pod spec, init containers included.
func referencesOf(spec *corev1.PodSpec) references {
	r := references{consumers: map[string]bool{}}
	volumes := map[string]source{}
	for i := range spec.Volumes {
		volumes[spec.Volumes[i].Name] = sourceOf(&spec.Volumes[i])
	}
	mounted := map[string]bool{}
	for _, containers := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range containers {
			if r.addContainer(&containers[i], volumes) {
				r.consumers[containers[i].Name] = true
			}
			for _, mount := range containers[i].VolumeMounts {
				mounted[mount.Name] = true
			}
		}
	}
	// kubelet leaves a volume alone that no container mounts.
	for i := range spec.Volumes {
		v := &spec.Volumes[i]
		if class := volumes[v.Name].class; class != "" && mounted[v.Name] {
			r.classes = append(r.classes, shared(class))
			r.principal = r.principal || v.CSI.NodePublishSecretRef != nil
		}
	}
	return r
}

// addContainer reports whether the container takes anything.
func (r *references) addContainer(c *corev1.Container, volumes map[string]source) bool {
	takes := false
	for _, from := range c.EnvFrom {
		if from.SecretRef != nil {
			r.take(from.SecretRef.Name, atStart)
			takes = true
		}
	}
	for _, env := range c.Env {
		if env.ValueFrom != nil && env.ValueFrom.SecretKeyRef != nil {
			r.take(env.ValueFrom.SecretKeyRef.Name, atStart)
			takes = true
		}
	}
	for _, mount := range c.VolumeMounts {
		from := volumes[mount.Name]
		takes = takes || from.class != "" || len(from.secrets) > 0
		how := asFiles
		if mount.SubPath != "" || mount.SubPathExpr != "" {
			how = atStart
		}
		for _, secret := range from.secrets {
			r.take(secret, how)
		}
	}
	return takes
}

func sourceOf(v *corev1.Volume) source {
	switch {
	case v.CSI != nil && v.CSI.Driver == secretsstore.DriverName:
		return source{class: v.CSI.VolumeAttributes[secretsstore.ClassAttribute]}
	case v.Secret != nil:
		return source{secrets: []string{v.Secret.SecretName}}
	case v.Projected != nil:
		var from source
		for _, projection := range v.Projected.Sources {
			if projection.Secret != nil {
				from.secrets = append(from.secrets, projection.Secret.Name)
			}
		}
		return from
	default:
		return source{}
	}
}
