-- wrk URL -- [BODY] ["Header: value"]...
-- Asks with POST where there is a body, and prints what was measured as one line of JSON, after wrk's own report.

function init(arguments)
    local body = arguments[1] or ""
    if body ~= "" then
        wrk.method, wrk.body = "POST", body
        wrk.headers["Content-Type"] = "application/json"
    end
    for nr = 2, #arguments do
        local name, value = arguments[nr]:match("^([^:]+): (.*)$")
        wrk.headers[name] = value
    end
end

function done(summary, latency)
    local errors = summary.errors
    local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
    -- wrk counts in microseconds.
    local line = '{"requests": %d, "seconds": %.6f, "failed": %d, "p50_ms": %.4f, "p99_ms": %.4f}\n'
    local p50, p99 = latency:percentile(50) / 1e3, latency:percentile(99) / 1e3
    io.write(line:format(summary.requests, summary.duration / 1e6, failed, p50, p99))
end
