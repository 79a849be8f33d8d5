package config

// Code names a kind of diagnostic for programs. Codes are stable: none is given a second meaning.
type Code string

const (
	CodeSyntax       Code = "syntax"        // the text is not YAML
	CodeEncoding     Code = "encoding"      // the text is not UTF-8, or has control characters
	CodeTooLarge     Code = "too_large"     // the text, or what its aliases expand to, is over a limit
	CodeTooMany      Code = "too_many"      // more of a kind than can be used, or more errors than are shown
	CodeYAML         Code = "yaml_feature"  // a feature of YAML that is refused: several documents, tags, merge keys
	CodeUnknown      Code = "unknown"       // a setting, or a word, that does not exist
	CodeDuplicate    Code = "duplicate"     // the same name, node or address twice
	CodeMissing      Code = "missing"       // something that must be there is not
	CodeKind         Code = "kind"          // a list where a text belongs, and the like
	CodeValue        Code = "value"         // not a duration, number, name, address ...
	CodeRange        Code = "range"         // too small or too large
	CodeEnvironment  Code = "environment"   // ${NAME} without that variable, or malformed
	CodePattern      Code = "pattern"       // a path or host pattern is wrong
	CodeKey          Code = "key"           // the text of a key is wrong
	CodeCapture      Code = "capture"       // a key names a capture that its route's path does not have
	CodeListener     Code = "listener"      // a route names a listener that does not exist
	CodePool         Code = "pool"          // a route names a pool that does not exist
	CodeNode         Code = "node"          // a pin names a node that its pool does not have
	CodePort         Code = "port_used"     // two listeners, admin included, want one address
	CodeForbidden    Code = "forbidden"     // an address that Roost does not dial, or does not listen on
	CodeFile         Code = "file"          // a certificate or key cannot be read or used
	CodeConflict     Code = "conflict"      // two settings exclude each other
	CodeEmptyPool    Code = "empty_pool"    // warning: a pool without nodes
	CodeUnusedPool   Code = "unused_pool"   // warning: no route leads to a pool
	CodeUnusedTLS    Code = "unused_tls"    // warning: certificates that no listener shows
	CodeIdleListener Code = "idle_listener" // warning: no route takes requests of a listener
	CodeUnreachable  Code = "unreachable"   // warning: earlier routes take all that a route matches
	CodeCertificate  Code = "certificate"   // warning: a certificate is expired, or not valid yet
)
