-- One contact a request, each another person, with an idempotency key of its own. Whether likely duplicates are looked
-- for is the address's to say. Names are letters at random; where NAMES is a file of given and family names, a pair a
-- line, they are people's, who share them with others.
math.randomseed(os.time())
local counter, run = 0, tostring(os.time()) .. tostring(math.random(1, 1e9))
local function word()
    local letters = {}
    for place = 1, 7 do letters[place] = string.char(math.random(97, 122)) end
    return table.concat(letters)
end
local names = {}
if os.getenv("NAMES") then
    for line in io.lines(os.getenv("NAMES")) do names[#names + 1] = line end
end
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
request = function()
    counter = counter + 1
    wrk.headers["Idempotency-Key"] = "b" .. run .. "-" .. counter
    local given, family = word(), word()
    local email = given .. "." .. family
    if #names > 0 then given, family = names[math.random(#names)]:match("(.*)\t(.*)") end
    return wrk.format(nil, nil, nil, '{"given_name":"' .. given .. '","family_name":"' .. family ..
        '","emails":[{"value":"' .. email .. '@example.com"}],"region":"Noord-Holland"}')
end
