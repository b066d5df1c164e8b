-- One contact a request, each with an idempotency key of its own.
local counter, run = 0, tostring(os.time()) .. tostring(math.random(1, 1e9))
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
request = function()
    counter = counter + 1
    wrk.headers["Idempotency-Key"] = "b" .. run .. "-" .. counter
    return wrk.format(nil, nil, nil, '{"given_name":"Ada","family_name":"Jansen","emails":[{"value":"ada@example.com"}],"region":"Noord-Holland"}')
end
