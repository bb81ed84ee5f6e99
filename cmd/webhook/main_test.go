package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// until is a part that runs until it is told to end.
func until(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func TestSupportOutlivesTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		start := time.Now()
		var supported time.Duration
		err := together(ctx, func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(time.Minute) // requests under way
			return nil
		}, func(ctx context.Context) error {
			<-ctx.Done()
			supported = time.Since(start)
			return nil
		})
		if want := time.Second + time.Minute; supported != want || err != nil {
			t.Errorf("support ended after %s, want %s; error %v", supported, want, err)
		}
	})
}

func TestPartThatEndsEndsAll(t *testing.T) {
	broken := errors.New("broken")
	fails := func(context.Context) error { return broken }
	tests := map[string]struct {
		server  func(context.Context) error
		support func(context.Context) error
		want    error
	}{
		"a support fails":   {until, fails, broken},
		"the server fails":  {fails, until, broken},
		"a support is done": {until, func(context.Context) error { return nil }, nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if err := together(t.Context(), tc.server, until, tc.support); !errors.Is(err, tc.want) {
					t.Errorf("error %v, want %v", err, tc.want)
				}
			})
		})
	}
}
