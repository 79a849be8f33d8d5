package api

// Codes of a Problem, beside those of a [roost.ChangeError]. They are stable, for scripts.
const (
	CodeBadRequest     = "bad_request"        // 400: a target, query or field that cannot be read
	CodeBadBody        = "body_invalid"       // 400: no JSON where there should be, or something where there should be nothing
	CodeUnauthorized   = "unauthorized"       // 401: no token, or a wrong one
	CodeHostUnknown    = "host_unknown"       // 403: a name in Host that is not the admin listener's
	CodeOriginForeign  = "origin_foreign"     // 403: a web page of another origin asks
	CodeSocketOnly     = "socket_only"        // 403: answered over the unix socket only
	CodeNoRoute        = "no_such_route"      // 404
	CodeMethod         = "method_not_allowed" // 405; Allow lists those that are
	CodeUpgradeFailed  = "upgrade_failed"     // 409: the process that was serves on
	CodeTooLarge       = "too_large"          // 413
	CodeMediaType      = "media_type"         // 415: only application/json is read
	CodeInvalid        = "invalid"            // 422: readable, and not what can be; the same code as roost.CodeBadChange
	CodeHeadTooLarge   = "head_too_large"     // 431
	CodeInternal       = "internal"           // 500: a bug; the log says more
	CodeNotOffered     = "not_offered"        // 501: this process has no such thing
	CodeTooManyStreams = "too_many_streams"   // 503: of events
	CodeUnfinished     = "unfinished"         // 503: the balancer ended, or took too long; it may be done all the same
)
