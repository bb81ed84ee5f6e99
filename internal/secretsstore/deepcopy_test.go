package secretsstore

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Every field of every type is filled, copied, and found in the copy at
// another address, so a field that is added is not forgotten here.
func TestDeepCopySharesNothing(t *testing.T) {
	for _, o := range []runtime.Object{
		&SecretProviderClass{}, &SecretProviderClassList{},
		&SecretProviderClassPodStatus{}, &SecretProviderClassPodStatusList{},
	} {
		t.Run(fmt.Sprintf("%T", o), func(t *testing.T) {
			fill(reflect.ValueOf(o).Elem())
			c := o.DeepCopyObject()
			if diff := cmp.Diff(o, c); diff != "" {
				t.Errorf("copy (-original +copy):\n%s", diff)
			}
			if path := shared(reflect.ValueOf(o), reflect.ValueOf(c)); path != "" {
				t.Errorf("the copy shares %s", path)
			}
		})
	}
}

func TestDeepCopyOfNothing(t *testing.T) {
	for name, o := range map[string]runtime.Object{
		"class": (*SecretProviderClass)(nil), "classes": (*SecretProviderClassList)(nil),
		"status": (*SecretProviderClassPodStatus)(nil), "statuses": (*SecretProviderClassPodStatusList)(nil),
	} {
		if c := o.DeepCopyObject(); c != nil {
			t.Errorf("%s: %v", name, c)
		}
	}
	class := &SecretProviderClass{Spec: SecretProviderClassSpec{SecretObjects: []*SecretObject{nil, {Data: []*SecretObjectData{nil}}}}}
	if diff := cmp.Diff(class, class.DeepCopy()); diff != "" {
		t.Errorf("copy of nil entries (-original +copy):\n%s", diff)
	}
}

// fill sets everything that v holds to something, one element each.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint8:
		v.SetUint(1)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		value := reflect.New(v.Type().Elem()).Elem()
		fill(value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("x"), value)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[metav1.Time]() {
			v.Set(reflect.ValueOf(metav1.NewTime(time.Unix(1, 0))))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	default:
		panic("fill " + v.Type().String())
	}
}

// shared returns the first place where a and b, which are equal, are the same.
func shared(a, b reflect.Value) string {
	switch a.Kind() {
	case reflect.Pointer:
		if a.Pointer() == b.Pointer() {
			return a.Type().String()
		}
		return shared(a.Elem(), b.Elem())
	case reflect.Slice:
		if a.Pointer() == b.Pointer() {
			return a.Type().String()
		}
		return shared(a.Index(0), b.Index(0))
	case reflect.Map:
		if a.Pointer() == b.Pointer() {
			return a.Type().String()
		}
	case reflect.Struct:
		if a.Type() == reflect.TypeFor[metav1.Time]() {
			return "" // Location is shared by all times.
		}
		for i := range a.NumField() {
			if path := shared(a.Field(i), b.Field(i)); path != "" {
				return a.Type().Field(i).Name + "." + path
			}
		}
	default:
	}
	return ""
}
