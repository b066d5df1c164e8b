import Redis

extension QueueScripts {
    /// Calls a function with the id and the packed state of each tenant that has one, until it gives true: what lies on
    /// the same page is visited still.
    private static let eachTenant = """
        local function eachTenant(visit)
            local cursor, isEnough = '0', false
            repeat
                local page = redis.call('HSCAN', T, cursor, 'COUNT', 500)
                cursor = page[1]
                for i = 1, #page[2], 2 do
                    if page[2][i] ~= '#' then isEnough = visit(page[2][i], page[2][i + 1]) or isEnough end
                end
            until cursor == '0' or isEnough
        end

        """

    /// Counts: waiting, running, delayed, dead, workers, tenants with work, epoch, paused, ms since the oldest waiting
    /// job was enqueued (over 2,000 tenants that are not held), known ids, parked tenants.
    static let describe = RedisScript(
        prelude + isQuiet + eachTenant + """
            local waitingJobs, running, tenants, looked = 0, 0, 0, 0
            local oldest = now
            -- Also where the tenant can run no more at the moment: its jobs wait all the same.
            local function look(id)
                for p = 0, 2 do
                    local blob = redis.call('LINDEX', P .. 'r:' .. id .. ':' .. p, 0)
                    if blob then
                        local at = 0
                        for i = 1, 6 do at = at * 256 + string.byte(blob, i) end
                        oldest = math.min(oldest, at)
                    end
                end
            end
            eachTenant(function(id, raw)
                local f, n, a, b, c, later, cap, flags = struct.unpack('<dI4I4I4I4I4I4I1', raw)
                waitingJobs = waitingJobs + a + b + c
                running = running + n
                if a + b + c + n > 0 then tenants = tenants + 1 end
                if a + b + c > 0 and flags < HELD and looked < 2000 then
                    looked = looked + 1
                    look(id)
                end
            end)
            local workers = 0
            for _, worker in ipairs(redis.call('ZRANGE', P .. 'wk', 0, -1)) do
                if not isQuiet(worker) then workers = workers + 1 end
            end
            return {waitingJobs, running, redis.call('ZCARD', P .. 'd'), redis.call('ZCARD', P .. 'x'),
                workers, tenants, shard.epoch, shard.paused, math.floor(now - oldest),
                redis.call('SCARD', P .. 'u'), redis.call('ZCARD', P .. 'park')}
            """)

    /// The tenants with anything here, at most `ARGV[1]`, those with the most first: (id, waiting, running, delayed,
    /// cap, weight, rate, burst, held, spilled, ms until it has a token or -1, place in line or -1) each; numbers as
    /// text where they may have fractions.
    static let tenants = RedisScript(
        prelude + eachTenant + """
            local all = {}
            eachTenant(function(id)
                local s = tenantState(id)
                all[#all + 1] = {id = id, s = s, n = waiting(s) + s.running + s.delayed}
            end)
            table.sort(all, function(a, b) return a.n == b.n and a.id < b.id or a.n > b.n end)
            local reply = {}
            for i = 1, math.min(#all, tonumber(ARGV[1])) do
                local id, s = all[i].id, all[i].s
                local parked = redis.call('ZSCORE', P .. 'park', id)
                reply[i] = {id, waiting(s), s.running, s.delayed, s.cap, tostring(s.weight), tostring(s.rate),
                    tostring(s.burst), s.held and 1 or 0, s.spilled and 1 or 0,
                    parked and math.max(0, math.ceil(tonumber(parked) - now)) or -1,
                    redis.call('ZRANK', P .. 'act', id) or -1}
            end
            return reply
            """)

    /// The workers: (name, ms its lease still lasts, jobs it holds, 1 where it is quiet) each.
    static let workers = RedisScript(
        prelude + isQuiet + """
            local reply = {}
            local all = redis.call('ZRANGE', P .. 'wk', 0, 999, 'WITHSCORES')
            for i = 1, #all, 2 do
                reply[#reply + 1] = {all[i], math.ceil(tonumber(all[i + 1]) - now), redis.call('HLEN', P .. 'w:' .. all[i]),
                    isQuiet(all[i]) and 1 or 0}
            end
            return reply
            """)

    /// Packed jobs. Arguments: `running`, `waiting`, `delayed` or `dead`; how many at most; a tenant or an empty text.
    /// Gives (packed job, number) each: for a running job the worker's name, for the others ms since 1970 at which it
    /// is due or died, 0 for one that waits.
    static let jobs = RedisScript(
        prelude + eachTenant + """
            local reply, limit, only = {}, tonumber(ARGV[2]), ARGV[3]
            local function add(tenant, blob, fact)
                if #reply < limit and (only == '' or only == tenant) then reply[#reply + 1] = {blob, fact} end
            end
            if ARGV[1] == 'running' then
                for _, worker in ipairs(redis.call('ZRANGE', P .. 'wk', 0, -1)) do
                    local entries = redis.call('HVALS', P .. 'w:' .. worker)
                    for _, blob in ipairs(entries) do add(tenantOf(blob), blob, worker) end
                end
            elseif ARGV[1] == 'waiting' then
                local ids, isListed = {}, {}
                local function list(id)
                    if not isListed[id] then ids[#ids + 1] = id end
                    isListed[id] = true
                end
                if only ~= '' then
                    list(only)
                else
                    for _, set in ipairs({'act', 'park'}) do
                        for _, id in ipairs(redis.call('ZRANGE', P .. set, 0, 199)) do list(id) end
                    end
                    -- Behind them those that may not run now: at their cap, or held.
                    eachTenant(function(id)
                        list(id)
                        return #ids > 2000
                    end)
                end
                for _, id in ipairs(ids) do
                    for p = 0, 2 do
                        if #reply < limit then
                            local list = redis.call('LRANGE', P .. 'r:' .. id .. ':' .. p, 0, limit - #reply - 1)
                            for _, blob in ipairs(list) do add(id, blob, '0') end
                        end
                    end
                end
            else
                local set = ARGV[1] == 'dead' and 'x' or 'd'
                local all = redis.call('ZRANGE', P .. set, 0, 4999, 'WITHSCORES')
                for i = 1, #all, 2 do
                    local blob = redis.call('HGET', P .. set .. 'j', all[i])
                    if blob then add(tenantOf(blob), blob, all[i + 1]) end
                end
            end
            return reply
            """)

    /// Where one job is. Arguments: id, tenant. Gives a word and numbers: `running` worker, ms its lease lasts ·
    /// `delayed` ms until due · `waiting` place in its tenant's line (over the first 10,000 of each priority), the
    /// tenant's place among the runnable or -1, ms until it has a token or -1, running, cap in force, held, paused ·
    /// `dead` · `cancelled` · `known` (here, further back than was looked) · `unknown`.
    static let whereabouts = RedisScript(
        prelude + """
            local id, tenant = ARGV[1], ARGV[2]
            for _, worker in ipairs(redis.call('ZRANGE', P .. 'wk', 0, -1)) do
                if redis.call('HEXISTS', P .. 'w:' .. worker, id) == 1 then
                    return {'running', worker, math.ceil(tonumber(redis.call('ZSCORE', P .. 'wk', worker)) - now)}
                end
            end
            local due = redis.call('ZSCORE', P .. 'd', id)
            if due then return {'delayed', math.ceil(tonumber(due) - now)} end
            if redis.call('ZSCORE', P .. 'cx', id) then return {'cancelled'} end
            if redis.call('ZSCORE', P .. 'x', id) then return {'dead'} end
            local s, before = tenantState(tenant), 0
            for p = 0, 2 do
                local list = redis.call('LRANGE', P .. 'r:' .. tenant .. ':' .. p, 0, 9999)
                for place, blob in ipairs(list) do
                    if jobID(blob) == id then
                        local parked = redis.call('ZSCORE', P .. 'park', tenant)
                        return {'waiting', before + place - 1, redis.call('ZRANK', P .. 'act', tenant) or -1,
                            parked and math.max(0, math.ceil(tonumber(parked) - now)) or -1, s.running,
                            s.cap > 0 and s.cap or shard.cap, s.held and 1 or 0, shard.paused}
                    end
                end
                before = before + redis.call('LLEN', P .. 'r:' .. tenant .. ':' .. p)
            end
            if redis.call('SISMEMBER', P .. 'u', id) == 1 then return {'known', before} end
            return {'unknown'}
            """)
}
