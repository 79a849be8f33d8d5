package h1

// Reason is why a message is refused. It is an error; it has no state, so refusing costs nothing.
type Reason uint8

// The reasons. Each is met by exactly one kind of mistake, so that a metric by code tells who sends what.
const (
	_ Reason = iota

	// Lines.
	ErrEmptyLines // RFC 9112, 2.2 asks to forgive one empty line before a request, not a stream of them
	ErrBareLF
	ErrBareCR
	ErrObsFold

	// Start lines.
	ErrMethodInvalid
	ErrMethodTooLong
	ErrTargetInvalid
	ErrTargetForm
	ErrTargetUserinfo
	ErrRequestLineTooLong
	ErrHTTP09
	ErrVersionInvalid
	ErrVersionUnsupported
	ErrStatusInvalid
	ErrReasonInvalid

	// Fields.
	ErrHeadTooLarge
	ErrTooManyFields
	ErrFieldColonMissing
	ErrFieldNameInvalid
	ErrFieldNameSpace
	ErrFieldValueInvalid

	// What fields say.
	ErrHostMissing
	ErrHostDuplicate
	ErrHostEmpty
	ErrHostInvalid
	ErrHostMismatch
	ErrLengthInvalid
	ErrLengthDuplicate
	ErrLengthAndChunked
	ErrTransferEncodingInvalid
	ErrTransferEncodingDuplicate
	ErrTransferEncodingIn10
	ErrTransferCodingUnknown
	ErrContentForbidden
	ErrConnectionInvalid
	ErrConnectionProtected
	ErrConnectionTooMany
	ErrUpgradeInvalid
	ErrUpgradeDuplicate
	ErrExpectUnknown

	// Bodies.
	ErrChunkSizeInvalid
	ErrChunkSizeTooLarge
	ErrChunkExtensionInvalid
	ErrChunkExtensionTooLong
	ErrChunkEndMissing
	ErrTrailerTooLarge
	ErrTruncated // the input ended inside a body; Parse and Next never return it, EOF does

	endOfReasons
)

// reasons says what stands behind each Reason. It is a constant in all but name: nothing writes to it. A status of 0
// is 400.
var reasons = [endOfReasons]struct {
	code, text string
	status     int
}{
	0: {"none", "nothing is wrong", 0},

	ErrEmptyLines: {"empty_lines", "more than one empty line before the request line", 0},
	ErrBareLF:     {"bare_lf", "line ends in a line feed without a carriage return", 0},
	ErrBareCR:     {"bare_cr", "carriage return that does not end a line", 0},
	ErrObsFold:    {"obs_fold", "field line begins with white space (obsolete line folding)", 0},

	ErrMethodInvalid:      {"method_invalid", "method is not a token followed by a space", 0},
	ErrMethodTooLong:      {"method_too_long", "method is longer than any known one", 501}, // RFC 9112, 3
	ErrTargetInvalid:      {"target_invalid", "request target is not valid", 0},
	ErrTargetForm:         {"target_form", "form of the request target does not fit the method", 0},
	ErrTargetUserinfo:     {"target_userinfo", "request target holds user information", 0},
	ErrRequestLineTooLong: {"request_line_too_long", "request line is too long", 414}, // RFC 9112, 3
	ErrHTTP09:             {"http09", "request line has no version (HTTP/0.9)", 0},
	ErrVersionInvalid:     {"version_invalid", "start line has no valid HTTP version where it must stand", 0},
	ErrVersionUnsupported: {"version_unsupported", "major HTTP version is not 1", 505},
	ErrStatusInvalid:      {"status_invalid", "status code is not three digits from 100 to 599", 0},
	ErrReasonInvalid:      {"reason_invalid", "reason phrase holds a control character", 0},

	ErrHeadTooLarge:      {"head_too_large", "head is too large", 431}, // RFC 6585, 5
	ErrTooManyFields:     {"too_many_fields", "too many field lines", 431},
	ErrFieldColonMissing: {"field_colon_missing", "field line has no colon", 0},
	ErrFieldNameInvalid:  {"field_name_invalid", "field name is not a token", 0},
	ErrFieldNameSpace:    {"field_name_space", "white space between field name and colon", 0},
	ErrFieldValueInvalid: {"field_value_invalid", "field value holds a control character", 0},

	ErrHostMissing:               {"host_missing", "no Host field", 0},
	ErrHostDuplicate:             {"host_duplicate", "more than one Host field", 0},
	ErrHostEmpty:                 {"host_empty", "Host field is empty", 0},
	ErrHostInvalid:               {"host_invalid", "Host field is not a valid host and port", 0},
	ErrHostMismatch:              {"host_mismatch", "Host field differs from the authority of the request target", 0},
	ErrLengthInvalid:             {"length_invalid", "Content-Length is not a number of 1 to 18 digits", 0},
	ErrLengthDuplicate:           {"length_duplicate", "more than one Content-Length field", 0},
	ErrLengthAndChunked:          {"length_and_chunked", "both Content-Length and Transfer-Encoding", 0},
	ErrTransferEncodingInvalid:   {"transfer_encoding_invalid", "Transfer-Encoding is malformed, or has chunked twice or not at its end", 0},
	ErrTransferEncodingDuplicate: {"transfer_encoding_duplicate", "more than one Transfer-Encoding field", 0},
	ErrTransferEncodingIn10:      {"transfer_encoding_in_10", "Transfer-Encoding in an HTTP/1.0 message", 0},
	ErrTransferCodingUnknown:     {"transfer_coding_unknown", "transfer coding other than chunked", 501}, // RFC 9112, 6.1
	ErrContentForbidden:          {"content_forbidden", "message declares content that its method or status forbids", 0},
	ErrConnectionInvalid:         {"connection_invalid", "Connection is not a list of tokens", 0},
	ErrConnectionProtected:       {"connection_protected", "Connection lists a field that must not be dropped on the way", 0},
	ErrConnectionTooMany:         {"connection_too_many", "Connection lists too many names", 0},
	ErrUpgradeInvalid:            {"upgrade_invalid", "Upgrade is not a list of protocols", 0},
	ErrUpgradeDuplicate:          {"upgrade_duplicate", "more than one Upgrade field", 0},
	ErrExpectUnknown:             {"expect_unknown", "expectation other than 100-continue", 417}, // RFC 9110, 10.1.1

	ErrChunkSizeInvalid:      {"chunk_size_invalid", "chunk size is not 1 to 16 hexadecimal digits", 0},
	ErrChunkSizeTooLarge:     {"chunk_size_too_large", "chunk size is beyond 63 bits", 0},
	ErrChunkExtensionInvalid: {"chunk_extension_invalid", "chunk extension is malformed", 0},
	ErrChunkExtensionTooLong: {"chunk_extension_too_long", "chunk extensions are too long", 0},
	ErrChunkEndMissing:       {"chunk_end_missing", "chunk is not followed by an end of line", 0},
	ErrTrailerTooLarge:       {"trailer_too_large", "trailer section is too large", 431},
	ErrTruncated:             {"truncated", "input ended before the message was complete", 0},
}

// Error says in plain words what is wrong.
func (r Reason) Error() string { return reasons[r.known()].text }

// Code is a stable name in snake_case, for metrics and the access log.
func (r Reason) Code() string { return reasons[r.known()].code }

// Status is the status code to answer when a request is refused for this reason; a response refused for any reason
// is a 502 of the proxy.
func (r Reason) Status() int {
	if s := reasons[r.known()].status; s != 0 {
		return s
	}
	return 400
}

func (r Reason) known() Reason {
	if r >= endOfReasons {
		return 0
	}
	return r
}
