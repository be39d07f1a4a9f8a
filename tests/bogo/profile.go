// Copied into ssl/test/runner of a checkout of BoringSSL (docs/channel.md, "Conformance"). The runner's own defaults are an RSA
// certificate, no certificate of a client and no application protocol, with which nobody talks to this profile. What a
// test sets itself stays as it is.

package runner

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"slices"
)

// applyProfile is called at the top of runTest, on the runner's own copy of the test.
func applyProfile(test *testCase) {
	if test.protocol != tls {
		test.flags = append(slices.Clone(test.flags), "-another-protocol")
		return
	}
	c := &test.config
	if c.MaxVersion != 0 && c.MaxVersion < VersionTLS13 {
		test.flags = append(slices.Clone(test.flags), "-an-older-version")
	}
	if len(c.NextProtos) == 0 {
		c.NextProtos = []string{"dbm/1"}
	}
	if c.CurvePreferences == nil && c.DefaultCurves == nil {
		c.CurvePreferences = []CurveID{CurveP256}
	}
	if c.Credential == nil {
		c.Credential = &ecdsaP256Certificate
	} else if key, ok := c.Credential.PrivateKey.(*ecdsa.PrivateKey); !ok || key.Curve != elliptic.P256() {
		test.flags = append(slices.Clone(test.flags), "-another-kind-of-key")
	}
	if c.CipherSuites != nil && !slices.Contains(c.CipherSuites, TLS_AES_128_GCM_SHA256) {
		test.flags = append(slices.Clone(test.flags), "-another-suite")
	}
	if test.testType == clientTest && c.ClientAuth == NoClientCert {
		c.ClientAuth = RequireAnyClientCert
	}
	if test.shimCertificate == nil && len(test.shimCredentials) == 0 {
		test.shimCertificate = &ecdsaP256Certificate
	}
}
