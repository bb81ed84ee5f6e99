package certs

import (
	"os"
	"time"
)

// testNow is what the certificates of a replica with another clock are issued by.
func testNow() time.Time { return time.Now().Add(testDuration("KEYROLL_TEST_CLOCK_OFFSET")) }

// testTolerance is the tolerance of a replica whose certificates are to expire.
func testTolerance() time.Duration {
	if d := testDuration("KEYROLL_TEST_CLOCK_TOLERANCE"); d > 0 {
		return d
	}
	return DefaultClockTolerance
}

func testDuration(variable string) time.Duration {
	d, err := time.ParseDuration(os.Getenv(variable))
	if err != nil {
		panic(variable + ": " + err.Error())
	}
	return d
}
