package webhook

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

func TestBufferHasRoomForWhatComes(t *testing.T) {
	const spare = 512
	tests := map[string]struct {
		size     int
		declared int64
		wantCap  int // 0: not said
	}{
		"nothing":                        {0, 0, spare},
		"a common body":                  {12_000, 12_000, 12_000 + spare},
		"a common body, not declared":    {12_000, -1, commonBody + spare},
		"as much as is common":           {commonBody, commonBody, commonBody + spare},
		"a large body":                   {205_000, 205_000, 205_000 + spare},
		"a large body, not declared":     {205_000, -1, 4 * (commonBody + spare)},
		"the largest body":               {maxBody, maxBody, maxBody + spare},
		"much is promised, little comes": {10, maxBody, commonBody + spare},
		"promised, half of it comes":     {commonBody + spare + 1, maxBody, 2 * (commonBody + spare)},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			text := bytes.Repeat([]byte("x"), tc.size)
			for _, from := range []io.Reader{bytes.NewReader(text), iotest.OneByteReader(bytes.NewReader(text)), iotest.DataErrReader(bytes.NewReader(text))} {
				var b buffer
				if err := b.fill(from, tc.declared); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(b.text, text) {
					t.Errorf("%d bytes, want the %d that came", len(b.text), len(text))
				}
				if cap(b.text) != tc.wantCap {
					t.Errorf("room for %d bytes, want %d", cap(b.text), tc.wantCap)
				}
			}
		})
	}
	t.Run("a body that breaks off", func(t *testing.T) {
		var b buffer
		reset := errors.New("reset")
		if err := b.fill(io.MultiReader(bytes.NewReader([]byte("x")), iotest.ErrReader(reset)), 2); !errors.Is(err, reset) {
			t.Errorf("error %v", err)
		}
	})
}
