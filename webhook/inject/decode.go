package inject

import (
	"errors"
	"fmt"
	"strings"

	"keyroll.dev/internal/annotation"
	"keyroll.dev/internal/jsonread"
)

// Objects are read once and in part: what no plan reads is passed over, so that
// neither its size nor its shape matters. What is kept of the text itself is a
// part of it, not a copy: a plan is made while the text is there.

// ReadPod reads a pod where it stands in a larger text. Field names are told apart
// by case, as the API server does, so "Metadata" is an unknown field and not
// metadata. That the whole is no JSON is left to who reads the whole.
func ReadPod(r *jsonread.Reader) (Pod, error) {
	var p Pod
	err := r.Part(func(r *jsonread.Reader) { p.read(r, ours) })
	if err == nil && p.Metadata.asksForEnv() {
		err = p.readEnv()
	}
	if err != nil {
		return Pod{}, fmt.Errorf("decode pod: %w", err)
	}
	return p, nil
}

// ours tells which annotations of a pod are read.
func ours(name []byte) bool {
	return strings.HasPrefix(string(name), annotation.Prefix) || string(name) == mirrorAnnotation
}

// ourLabel tells which labels are read.
func ourLabel(name []byte) bool {
	return string(name) == annotation.InjectedLabel || string(name) == annotation.IdentityUseLabel
}

// decode reads a pod template with all of its annotations.
func (p *Pod) decode(raw []byte) error {
	return jsonread.Read(raw, func(r *jsonread.Reader) { p.read(r, nil) })
}

// read reads a pod or pod template, of its annotations those that keep is
// true for. The containers' environment is left for readEnv.
func (p *Pod) read(r *jsonread.Reader, keep func(name []byte) bool) {
	r.Object(func(name []byte) {
		switch string(name) {
		case "metadata":
			p.Metadata.read(r, keep)
		case "spec":
			p.Spec.read(r)
		default:
			r.Skip()
		}
	})
}

func (m *Metadata) read(r *jsonread.Reader, keep func(name []byte) bool) {
	r.Object(func(name []byte) {
		switch string(name) {
		case "labels":
			readStrings(r, &m.Labels, &m.labelled, ourLabel)
		case "annotations":
			readStrings(r, &m.Annotations, &m.annotated, keep)
		default:
			r.Skip()
		}
	})
}

// readStrings also tells whether there are any, kept or not.
func readStrings(r *jsonread.Reader, m *map[string]string, some *bool, keep func(name []byte) bool) {
	r.Strings(m, func(name []byte) bool {
		*some = true
		return keep == nil || keep(name)
	})
	*some = *some && *m != nil // else a null has come after them
}

func (m *Metadata) asksForEnv() bool {
	_, asks := m.Annotations[annotation.Env]
	return asks
}

func (s *PodSpec) read(r *jsonread.Reader) {
	r.Object(func(name []byte) {
		switch string(name) {
		case "serviceAccountName":
			r.String(&s.ServiceAccountName)
		case "serviceAccount":
			r.String(&s.DeprecatedAccount)
		case "automountServiceAccountToken":
			jsonread.Pointer(r, &s.Automount, r.Bool)
		case "os":
			jsonread.Pointer(r, &s.OS, func(os *PodOS) { readName(r, &os.Name) })
		case "imagePullSecrets":
			jsonread.List(r, &s.ImagePullSecrets, func(secret *LocalName) { readName(r, &secret.Name) })
		case "volumes":
			jsonread.List(r, &s.Volumes, func(v *Volume) { v.read(r) })
		case "initContainers":
			jsonread.List(r, &s.InitContainers, func(c *Container) { c.read(r) })
		case "containers":
			jsonread.List(r, &s.Containers, func(c *Container) { c.read(r) })
		default:
			r.Skip()
		}
	})
}

// readName reads an object of which only the name matters.
func readName(r *jsonread.Reader, s *string) {
	r.Member("name", func() { r.String(s) })
}

func (v *Volume) read(r *jsonread.Reader) {
	r.Object(func(name []byte) {
		switch string(name) {
		case "name":
			r.String(&v.Name)
		case "csi":
			jsonread.Pointer(r, &v.CSI, func(c *CSIVolume) { c.read(r) })
		case "projected":
			jsonread.Pointer(r, &v.Projected, func(p *ProjectedVolume) { p.read(r) })
		default:
			r.Skip()
		}
	})
}

func (c *CSIVolume) read(r *jsonread.Reader) {
	r.Object(func(name []byte) {
		switch string(name) {
		case "driver":
			r.String(&c.Driver)
		case "readOnly":
			jsonread.Pointer(r, &c.ReadOnly, r.Bool)
		case "volumeAttributes":
			r.Strings(&c.Attributes, nil)
		default:
			r.Skip()
		}
	})
}

func (p *ProjectedVolume) read(r *jsonread.Reader) {
	r.Member("sources", func() {
		jsonread.List(r, &p.Sources, func(s *ProjectedSource) { s.read(r) })
	})
}

func (s *ProjectedSource) read(r *jsonread.Reader) {
	r.Member("serviceAccountToken", func() {
		jsonread.Pointer(r, &s.Token, func(*struct{}) { r.Object(func([]byte) { r.Skip() }) })
	})
}

func (c *Container) read(r *jsonread.Reader) {
	r.Object(func(name []byte) {
		switch string(name) {
		case "name":
			r.String(&c.Name)
		case "env":
			r.Fail(c.readEnv()) // of the same name before, which this one is merged into
			c.env = r.Raw()
		case "volumeMounts":
			jsonread.List(r, &c.Mounts, func(m *Mount) { m.read(r) })
		default:
			r.Skip()
		}
	})
}

func (m *Mount) read(r *jsonread.Reader) {
	r.Object(func(name []byte) {
		switch string(name) {
		case "name":
			r.String(&m.Name)
		case "mountPath":
			r.String(&m.Path)
		default:
			r.Skip()
		}
	})
}

// readEnv reads the environment of all containers.
func (p *Pod) readEnv() error {
	for _, containers := range [][]Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range containers {
			if err := containers[i].readEnv(); err != nil {
				return fmt.Errorf("environment of container %q: %w", short(containers[i].Name), err)
			}
		}
	}
	return nil
}

func (c *Container) readEnv() error {
	if c.env == nil {
		return nil
	}
	text := c.env
	c.env = nil
	return jsonread.Read(text, func(r *jsonread.Reader) {
		jsonread.List(r, &c.Env, func(e *EnvVar) { e.read(r) })
	})
}

func (e *EnvVar) read(r *jsonread.Reader) {
	r.Object(func(name []byte) {
		switch string(name) {
		case "name":
			r.String(&e.Name)
		case "valueFrom":
			jsonread.Pointer(r, &e.From, func(s *EnvSource) { s.read(r) })
		default:
			r.Skip()
		}
	})
}

func (s *EnvSource) read(r *jsonread.Reader) {
	r.Member("secretKeyRef", func() {
		jsonread.Pointer(r, &s.Secret, func(k *SecretKey) { k.read(r) })
	})
}

func (k *SecretKey) read(r *jsonread.Reader) {
	r.Object(func(name []byte) {
		switch string(name) {
		case "name":
			r.String(&k.Name)
		case "key":
			r.String(&k.Key)
		default:
			r.Skip()
		}
	})
}

var errNoTemplate = errors.New("it has no pod template")

// DecodeWorkload reads a workload of the given kind.
func DecodeWorkload(kind string, raw []byte) (*Workload, error) {
	var t templated
	if err := t.decode(raw); err != nil {
		return nil, fmt.Errorf("decode %s: %w", kind, err)
	}
	w := &Workload{Metadata: t.metadata, path: "/spec/template", raw: t.template}
	if kind == kindCronJob {
		w.path, w.raw = "/spec/jobTemplate/spec/template", t.jobTemplate
	}
	if len(w.raw) == 0 || string(w.raw) == "null" {
		return nil, fmt.Errorf("decode %s: %w", kind, errNoTemplate)
	}
	err := w.Pod.decode(w.raw)
	if _, asks := w.Metadata.Annotations[annotation.Env]; err == nil && (asks || w.Pod.Metadata.asksForEnv()) {
		err = w.Pod.readEnv()
	}
	if err != nil {
		return nil, fmt.Errorf("decode the pod template of a %s: %w", kind, err)
	}
	return w, nil
}

// templated is an object that has a pod template at spec.template or, as a
// CronJob has, at spec.jobTemplate.spec.template.
type templated struct {
	metadata              WorkloadMetadata
	template, jobTemplate []byte
}

func (t *templated) decode(raw []byte) error {
	return jsonread.Read(raw, func(r *jsonread.Reader) {
		r.Object(func(name []byte) {
			switch string(name) {
			case "metadata":
				t.metadata.read(r)
			case "spec":
				t.readSpec(r)
			default:
				r.Skip()
			}
		})
	})
}

func (t *templated) readSpec(r *jsonread.Reader) {
	r.Object(func(name []byte) {
		switch string(name) {
		case "template":
			t.template = r.Raw()
		case "jobTemplate":
			r.Member("spec", func() {
				r.Member("template", func() { t.jobTemplate = r.Raw() })
			})
		default:
			r.Skip()
		}
	})
}

func (m *WorkloadMetadata) read(r *jsonread.Reader) {
	r.Object(func(name []byte) {
		switch string(name) {
		case "annotations":
			r.Strings(&m.Annotations, nil)
		case "deletionTimestamp":
			jsonread.Pointer(r, &m.Deletion, r.String)
		case "ownerReferences":
			jsonread.List(r, &m.Owners, func(o *owner) { o.read(r) })
		case "managedFields":
			jsonread.List(r, &m.Managers, func(m *manager) { m.read(r) })
		default:
			r.Skip()
		}
	})
}

func (o *owner) read(r *jsonread.Reader) {
	r.Member("controller", func() { jsonread.Pointer(r, &o.Controller, r.Bool) })
}

func (m *manager) read(r *jsonread.Reader) {
	r.Object(func(name []byte) {
		switch string(name) {
		case "operation":
			r.String(&m.Operation)
		case "subresource":
			r.String(&m.Subresource)
		case "fieldsV1":
			m.Fields = r.Raw()
		default:
			r.Skip()
		}
	})
}
