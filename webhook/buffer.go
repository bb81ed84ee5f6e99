package webhook

import (
	"errors"
	"io"
	"sync"
)

// buffer holds a review or an answer, and is used again.
type buffer struct{ text []byte }

var buffers = sync.Pool{New: func() any { return new(buffer) }}

func takeBuffer() *buffer { return buffers.Get().(*buffer) }

// giveBack keeps the buffer for the next one, unless it has grown larger than for
// nearly every review.
func (b *buffer) giveBack() {
	const most = 512 << 10
	if cap(b.text) <= most {
		b.text = b.text[:0]
		buffers.Put(b)
	}
}

// fill reads all of from. Of the length that is declared, -1 for none, as much is
// believed as is common; a longer text gets room as it comes, twice what it has
// and no more than was declared.
func (b *buffer) fill(from io.Reader, declared int64) error {
	const spare = 512 // so that the end is found without more room
	whole := commonBody + spare
	if declared >= 0 {
		whole = int(min(declared, maxBody)) + spare
	}
	b.grow(min(whole, commonBody+spare))
	for {
		if len(b.text) == cap(b.text) {
			b.grow(more(cap(b.text), whole))
		}
		n, err := from.Read(b.text[len(b.text):cap(b.text)])
		b.text = b.text[:len(b.text)+n]
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// more is how much room comes after this much: twice that, but no more than for
// the whole, unless more than that comes.
func more(room, whole int) int {
	if room < whole {
		return min(2*room, whole)
	}
	return 2 * room
}

// grow makes room for a text of this size.
func (b *buffer) grow(size int) {
	if size > cap(b.text) {
		b.text = append(make([]byte, 0, size), b.text...)
	}
}
