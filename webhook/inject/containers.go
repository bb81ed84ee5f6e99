package inject

import (
	"fmt"
	"slices"
	"strings"

	"keyroll.dev/internal/annotation"
)

// maxAdditions bounds the mounts and variables that one pod is given: their
// number is a product of what a small pod and a short annotation may say.
const maxAdditions = 10_000

// MostAdditions bounds the mounts and variables that annotations can have a plan
// add to the pod.
func (p *Pod) MostAdditions(annotations map[string]string) int {
	return (len(p.Spec.InitContainers) + len(p.Spec.Containers)) * (1 + strings.Count(annotations[annotation.Env], "="))
}

// MostAdditions bounds the additions that are planned to see what is wrong with
// the workload; nil has none.
func (w *Workload) MostAdditions() int {
	if w == nil {
		return 0
	}
	return max(w.Pod.MostAdditions(w.Metadata.Annotations), w.Pod.MostAdditions(w.Pod.Metadata.Annotations))
}

// tooMany answers the problem of more additions than that.
func tooMany(containers, variables int) annotation.Problems {
	if containers*(1+variables) <= maxAdditions {
		return nil
	}
	return annotation.Problems{annotation.NewProblem(annotation.Containers, "", fmt.Sprintf(
		"is to choose among the pod's containers, since a mount and %d variables in each of %d are more than %d additions; name those that need them",
		variables, containers, maxAdditions))}
}

// choose answers the containers that the annotation asks for, nil asking for
// all. A name that no container has may belong to one that another webhook adds
// later, so it is a warning as long as another name fits.
func choose(all []containerAt, names []string) (chosen []containerAt, problems annotation.Problems, warnings []string) {
	if names == nil {
		return all, nil, nil
	}
	var unknown []string
	for _, name := range names {
		if !slices.ContainsFunc(all, func(c containerAt) bool { return c.Name == name }) {
			unknown = append(unknown, name)
		}
	}
	for _, c := range all {
		if slices.Contains(names, c.Name) {
			chosen = append(chosen, c)
		}
	}
	for _, name := range unknown {
		if len(chosen) == 0 {
			problems = append(problems, annotation.NewProblem(annotation.Containers, name,
				"no container has this name; the pod has "+listNames(all)))
			continue
		}
		warnings = append(warnings, fmt.Sprintf("%s: %q: no container has this name unless another webhook adds it; the pod has %s",
			annotation.Containers, name, listNames(all)))
	}
	return chosen, problems, warnings
}

func listNames(all []containerAt) string {
	const most = 10
	var names []string
	for _, c := range all[:min(len(all), most)] {
		names = append(names, short(c.Name))
	}
	if len(all) > most {
		names = append(names, fmt.Sprintf("and %d more", len(all)-most))
	}
	return strings.Join(names, ", ")
}

// addition is what one container lacks.
type addition struct {
	containerAt
	env   []envVar
	mount bool
}

// envVar is one environment variable that is taken from the synced Secret.
type envVar struct {
	name string
	from SecretKey
}

// addEnv puts into a what the container lacks of env. A variable that the
// container sets itself, to something else, is a problem.
func (a *addition) addEnv(env []envVar) annotation.Problems {
	var problems annotation.Problems
	for _, want := range env {
		i := slices.IndexFunc(a.Env, func(e EnvVar) bool { return e.Name == want.name })
		switch {
		case i < 0:
			a.env = append(a.env, want)
		case !a.Env[i].is(want):
			problems = append(problems, annotation.NewProblem(annotation.Env, want.name, fmt.Sprintf(
				"container %q sets this variable itself; remove it there, take another name, or leave the container out with %s",
				short(a.Name), annotation.Containers)))
		}
	}
	return problems
}

// is tells whether the container has the variable as we would set it. The
// Secret's name is not known where something else is wrong already.
func (e EnvVar) is(want envVar) bool {
	if e.From == nil || e.From.Secret == nil || e.From.Secret.Key != want.from.Key {
		return false
	}
	return e.From.Secret.Name == want.from.Name || want.from.Name == ""
}

// addMount puts the mount into a where the container lacks it. A container
// that mounts the volume by itself keeps its own path, unless the annotation
// asks for one. Another volume at the path, or beneath it, is a problem.
func (a *addition) addMount(pod PodSpec, volume, path string, asked annotation.Settings) annotation.Problems {
	there := slices.ContainsFunc(a.Mounts, func(m Mount) bool {
		return m.Name == volume && (asked.MountPath == "" || pod.samePath(m.Path, path))
	})
	if there {
		return nil
	}
	for _, m := range a.Mounts {
		if pod.samePath(m.Path, path) {
			return annotation.Problems{annotation.NewProblem(annotation.MountPath, path, fmt.Sprintf(
				"container %q mounts volume %q there; write another path, or leave the container out with %s",
				short(a.Name), short(m.Name), annotation.Containers))}
		}
		if below, ok := pod.beneath(m.Path, path); ok && !mayBeFile(below, asked) {
			return annotation.Problems{annotation.NewProblem(annotation.MountPath, path, fmt.Sprintf(
				"container %q mounts volume %q beneath, at %q, and no directory can be made there; mount that elsewhere, write another path, or leave the container out with %s",
				short(a.Name), short(m.Name), short(m.Path), annotation.Containers))}
		}
	}
	a.mount = true
	return nil
}

// mayBeFile tells whether the path in our volume can be a file of it, which
// another may be laid over. kubelet makes the directories for mounts in a volume
// of its own, but not in one of CSI (kubernetes v1.37.2 pkg/volume/util/nested_volumes.go),
// and the container's runtime cannot, for ours is read-only.
func mayBeFile(name string, asked annotation.Settings) bool {
	return asked.SecretProviderClass != "" || // whose files are not known
		slices.ContainsFunc(asked.Objects, func(o annotation.Object) bool { return o.FileName() == name })
}

// mounts tells whether the container mounts the volume.
func (c Container) mounts(volume string) bool {
	return slices.ContainsFunc(c.Mounts, func(m Mount) bool { return m.Name == volume })
}
