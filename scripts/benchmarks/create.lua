-- One contact a request, each another person, with an idempotency key of its own. Whether likely duplicates are looked
-- for is the address's to say.
math.randomseed(os.time())
local counter, run = 0, tostring(os.time()) .. tostring(math.random(1, 1e9))
local function word()
    local letters = {}
    for place = 1, 7 do letters[place] = string.char(math.random(97, 122)) end
    return table.concat(letters)
end
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
request = function()
    counter = counter + 1
    wrk.headers["Idempotency-Key"] = "b" .. run .. "-" .. counter
    local given, family = word(), word()
    return wrk.format(nil, nil, nil, '{"given_name":"' .. given .. '","family_name":"' .. family ..
        '","emails":[{"value":"' .. given .. '.' .. family .. '@example.com"}],"region":"Noord-Holland"}')
end
