package driver

import corev1 "k8s.io/api/core/v1"

// Owns reports whether the model runs a pod: it mounts a volume of the driver,
// or takes something from a Secret (env, envFrom, a secret or projected
// volume). Everything else about a pod's life does not depend on synced
// content and is left to others; so is the deletion of all pods.
func Owns(pod *corev1.Pod) bool {
	for _, v := range pod.Spec.Volumes {
		if isOurs(v) || fromSecret(v) {
			return true
		}
	}
	for c := range containers(pod) {
		if envFromSecret(c) {
			return true
		}
	}
	return false
}

func isOurs(v corev1.Volume) bool { return v.CSI != nil && v.CSI.Driver == Name }

func fromSecret(v corev1.Volume) bool {
	if v.Secret != nil {
		return true
	}
	if v.Projected == nil {
		return false
	}
	for _, source := range v.Projected.Sources {
		if source.Secret != nil {
			return true
		}
	}
	return false
}

func envFromSecret(c *corev1.Container) bool {
	for _, e := range c.Env {
		if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
			return true
		}
	}
	for _, e := range c.EnvFrom {
		if e.SecretRef != nil {
			return true
		}
	}
	return false
}

// containers visits init containers, then containers; the second value tells which.
func containers(pod *corev1.Pod) func(yield func(*corev1.Container, bool) bool) {
	return func(yield func(*corev1.Container, bool) bool) {
		for i := range pod.Spec.InitContainers {
			if !yield(&pod.Spec.InitContainers[i], true) {
				return
			}
		}
		for i := range pod.Spec.Containers {
			if !yield(&pod.Spec.Containers[i], false) {
				return
			}
		}
	}
}
