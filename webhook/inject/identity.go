package inject

import (
	"slices"
	"strings"

	"keyroll.dev/internal/dependency"
)

const (
	// tokenVolumePrefix and tokenMountPath are what the ServiceAccount admission
	// plugin gives its token volume
	// (kubernetes v1.37.2 plugin/pkg/admission/serviceaccount/admission.go).
	tokenVolumePrefix = "kube-api-access-"
	tokenSuffixLength = 5
	tokenMountPath    = "/var/run/secrets/kubernetes.io/serviceaccount"
)

// accountChange is what changing a pod's ServiceAccount takes besides the
// name. The API server's ServiceAccount plugin has already run for the account
// that the pod came with, and runs once more after us, when it fills in what
// is absent but corrects nothing:
//
//	image pull secrets  copied from the old account stay         replaced by the new one's
//	token volume        stays though the new one forbids it      removed, with its mounts
//	serviceAccount      the deprecated twin must agree           set too
//
// It is made only in the pass that changes the name: after the second pass
// nobody adds a token that is taken away.
type accountChange struct {
	name        string
	pullSecrets *[]string // nil: leave them
	tokenVolume string    // "" : leave the volumes
}

// changeAccount plans the change of the pod's account to the one named. Either
// account may be nil, when it is not known.
func changeAccount(pod PodSpec, name string, from, to *dependency.ServiceAccount) *accountChange {
	if pod.account() == name {
		return nil
	}
	c := &accountChange{name: name}
	if to == nil {
		// The API server refuses an account that does not exist. Should it know of
		// one that we have not heard of yet, its plugin gives the pod in its second
		// run what is taken away here.
		no := false
		to = &dependency.ServiceAccount{Automount: &no}
	}
	if from != nil && len(pod.ImagePullSecrets) > 0 && slices.Equal(pullSecretNames(pod), from.ImagePullSecrets) {
		c.pullSecrets = &to.ImagePullSecrets
	}
	if pod.Automount == nil && to.Automount != nil && !*to.Automount {
		c.tokenVolume = tokenVolume(pod)
	}
	return c
}

func pullSecretNames(pod PodSpec) []string {
	names := make([]string, 0, len(pod.ImagePullSecrets))
	for _, s := range pod.ImagePullSecrets {
		names = append(names, s.Name)
	}
	return names
}

// tokenVolume names the volume that the ServiceAccount plugin has added, ""
// if there is none. The prefix alone is no proof, because the plugin also takes
// a volume of the user's own that has it; so it must have a generated name,
// hold a token, and be mounted where the plugin mounts it and nowhere else.
func tokenVolume(pod PodSpec) string {
	for _, v := range pod.Volumes {
		if len(v.Name) == len(tokenVolumePrefix)+tokenSuffixLength && strings.HasPrefix(v.Name, tokenVolumePrefix) &&
			v.holdsToken() && mountedOnlyAt(pod, v.Name, tokenMountPath) {
			return v.Name
		}
	}
	return ""
}

func (v Volume) holdsToken() bool {
	if v.Projected == nil {
		return false
	}
	for _, s := range v.Projected.Sources {
		if s.Token != nil {
			return true
		}
	}
	return false
}

func mountedOnlyAt(pod PodSpec, volume, path string) bool {
	for _, c := range pod.all() {
		for _, m := range c.Mounts {
			if m.Name == volume && m.Path != path {
				return false
			}
		}
	}
	return true
}
