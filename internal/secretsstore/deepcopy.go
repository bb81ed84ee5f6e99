package secretsstore

import (
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
)

// DeepCopy returns a copy that shares nothing with c.
func (c *SecretProviderClass) DeepCopy() *SecretProviderClass {
	if c == nil {
		return nil
	}
	out := &SecretProviderClass{TypeMeta: c.TypeMeta, Spec: *c.Spec.DeepCopy()}
	c.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	return out
}

// DeepCopyObject makes a class a runtime.Object.
func (c *SecretProviderClass) DeepCopyObject() runtime.Object {
	if c == nil {
		return nil
	}
	return c.DeepCopy()
}

// DeepCopy returns a copy that shares nothing with s.
func (s *SecretProviderClassSpec) DeepCopy() *SecretProviderClassSpec {
	if s == nil {
		return nil
	}
	out := &SecretProviderClassSpec{Provider: s.Provider, Parameters: maps.Clone(s.Parameters)}
	if s.SecretObjects != nil {
		out.SecretObjects = make([]*SecretObject, len(s.SecretObjects))
	}
	for i, o := range s.SecretObjects {
		out.SecretObjects[i] = o.DeepCopy()
	}
	return out
}

// DeepCopy returns a copy that shares nothing with o.
func (o *SecretObject) DeepCopy() *SecretObject {
	if o == nil {
		return nil
	}
	out := *o
	out.Labels = maps.Clone(o.Labels)
	out.Annotations = maps.Clone(o.Annotations)
	if o.Data != nil {
		out.Data = make([]*SecretObjectData, len(o.Data))
	}
	for i, d := range o.Data {
		if d != nil {
			data := *d
			out.Data[i] = &data
		}
	}
	return &out
}

// DeepCopyObject makes a list of classes a runtime.Object.
func (l *SecretProviderClassList) DeepCopyObject() runtime.Object {
	if l == nil {
		return nil
	}
	out := &SecretProviderClassList{TypeMeta: l.TypeMeta}
	l.ListMeta.DeepCopyInto(&out.ListMeta)
	if l.Items != nil {
		out.Items = make([]SecretProviderClass, len(l.Items))
	}
	for i := range l.Items {
		out.Items[i] = *l.Items[i].DeepCopy()
	}
	return out
}

// DeepCopy returns a copy that shares nothing with s.
func (s *SecretProviderClassPodStatus) DeepCopy() *SecretProviderClassPodStatus {
	if s == nil {
		return nil
	}
	out := &SecretProviderClassPodStatus{TypeMeta: s.TypeMeta, Status: s.Status}
	s.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	out.Status.Objects = slices.Clone(s.Status.Objects)
	return out
}

// DeepCopyObject makes a status a runtime.Object.
func (s *SecretProviderClassPodStatus) DeepCopyObject() runtime.Object {
	if s == nil {
		return nil
	}
	return s.DeepCopy()
}

// DeepCopyObject makes a list of statuses a runtime.Object.
func (l *SecretProviderClassPodStatusList) DeepCopyObject() runtime.Object {
	if l == nil {
		return nil
	}
	out := &SecretProviderClassPodStatusList{TypeMeta: l.TypeMeta}
	l.ListMeta.DeepCopyInto(&out.ListMeta)
	if l.Items != nil {
		out.Items = make([]SecretProviderClassPodStatus, len(l.Items))
	}
	for i := range l.Items {
		out.Items[i] = *l.Items[i].DeepCopy()
	}
	return out
}
