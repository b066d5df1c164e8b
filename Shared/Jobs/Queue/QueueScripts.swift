import Redis

/// The Lua that runs inside Redis: each operation on a shard is one script, one round trip, on one node.
///
/// Keys of a shard, all after the prefix `gx:{queue/shard}:`, which is the scripts' one key:
/// `T` tenant → packed state, and `#` → the shard's own · `act` runnable tenant → virtual start · `park` tenant out of
/// tokens → when it has one · `r:<tenant>:<p>` the waiting jobs · `u` known ids · `w:<worker>` what a worker holds ·
/// `wk` worker → lease end · `d`, `dj` delayed · `x`, `xj` dead · `cx` cancelled · `al`
/// worker → which of its jobs that run alone is under way · `qt` quiet process → until when · `sh` tenants with a share of
/// their own · `bell` wakes an idle worker.
///
/// Fairness is start-time fair queueing: a fetch serves the tenant with the least virtual start, virtual time moves
/// there, and the tenant's finish is its start plus cost over weight. What a run really took is charged at its tenant's
/// next pick. (Goyal, Vin, Cheng: Start-time Fair Queuing, SIGCOMM 1996.)
enum QueueScripts {
    /// The one line that reads a clock. The simulator puts its own in its place.
    static let clock = "local time = redis.call('TIME')"

    /// What every script begins with: the shard's state, its tenants' states as they are asked for, and `save`, which
    /// every path that changed one must reach.
    static let prelude =
        """
        local P = KEYS[1]
        local T = P .. 'T'
        \(clock)
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        local states, dirty = {}, {}
        local shard = {vt = 0, epoch = 0, paused = 0, cap = 0}
        local raw = redis.call('HGET', T, '#')
        if raw then shard.vt, shard.epoch, shard.paused, shard.cap = struct.unpack('<dI4I1I4', raw) end

        local SPILLED, HELD = 1, 2
        local function newTenant()
            return {finish = 0, running = 0, w = {0, 0, 0}, delayed = 0, cap = 0, spilled = false, held = false,
                weight = 1, owed = 0, rate = 0, burst = 0, tokens = 0, filled = 0}
        end
        local function tenantState(id)
            local s = states[id]
            if s then return s end
            s = newTenant()
            local raw = redis.call('HGET', T, id)
            if raw then
                local flags
                s.finish, s.running, s.w[1], s.w[2], s.w[3], s.delayed, s.cap, flags, s.weight, s.owed, s.rate, s.burst,
                    s.tokens, s.filled = struct.unpack('<dI4I4I4I4I4I4I1dddddd', raw)
                s.spilled, s.held = flags % 2 == 1, flags >= HELD
            end
            states[id] = s
            return s
        end
        local function touch(id) dirty[id] = true end
        local function waiting(s) return s.w[1] + s.w[2] + s.w[3] end
        local function runnable(s)
            -- A tenant without a cap of its own has the queue's usual one; 0 is any number.
            local cap = s.cap > 0 and s.cap or shard.cap
            return waiting(s) > 0 and not s.held and (cap == 0 or s.running < cap)
        end
        -- A token bucket, filled by the clock: false puts the tenant aside until it has a token again.
        local function hasToken(id, s)
            if s.rate == 0 then return true end
            if now > s.filled then
                s.tokens = math.min(s.burst, s.tokens + (now - s.filled) / 1000 * s.rate)
                s.filled = now
                touch(id)
            end
            -- A hair less than one is one: sums of fractions never meet it.
            if s.tokens > 0.999999 then return true end
            redis.call('ZADD', P .. 'park', now + math.ceil((1 - s.tokens) / s.rate * 1000), id)
            return false
        end
        local function activate(id)
            local s = tenantState(id)
            if runnable(s) and hasToken(id, s) then
                redis.call('ZADD', P .. 'act', 'NX', math.max(shard.vt, s.finish), id)
            end
        end
        local function ring()
            if redis.call('LLEN', P .. 'bell') < 1 then redis.call('LPUSH', P .. 'bell', '1') end
        end
        local function save()
            local packed = struct.pack('<dI4I1I4', shard.vt, shard.epoch, shard.paused, shard.cap)
            if packed ~= raw then redis.call('HSET', T, '#', packed) end
            for id in pairs(dirty) do
                local s = states[id]
                -- A tenant with nothing here, nothing owed and nothing set is forgotten: memory follows the work.
                if s.running == 0 and waiting(s) == 0 and s.delayed == 0 and s.cap == 0 and s.rate == 0
                    and s.weight == 1 and not s.spilled and not s.held
                    and s.finish + math.max(0, s.owed) <= shard.vt then
                    redis.call('HDEL', T, id)
                else
                    redis.call('HSET', T, id, struct.pack('<dI4I4I4I4I4I4I1dddddd', s.finish, s.running, s.w[1], s.w[2],
                        s.w[3], s.delayed, s.cap, (s.spilled and SPILLED or 0) + (s.held and HELD or 0), s.weight,
                        s.owed, s.rate, s.burst, s.tokens, s.filled))
                end
            end
        end

        -- The header of a packed job: id (16 bytes), attempts, crashes, priority, flags, cost, tenant.
        local function jobID(blob) return string.sub(blob, 1, 16) end
        local function tenantOf(blob) return string.format('%.0f', (struct.unpack('<i8', blob, 25))) end
        local function put(tenant, blob, front)
            local p = string.byte(blob, 19)
            redis.call(front and 'LPUSH' or 'RPUSH', P .. 'r:' .. tenant .. ':' .. p, blob)
            local s = tenantState(tenant)
            s.w[p + 1] = s.w[p + 1] + 1
            touch(tenant)
        end
        local function delay(tenant, blob, due)
            redis.call('ZADD', P .. 'd', due, jobID(blob))
            redis.call('HSET', P .. 'dj', jobID(blob), blob)
            local s = tenantState(tenant)
            s.delayed = s.delayed + 1
            touch(tenant)
        end
        -- Takes a job out of the delayed ones; gives its tenant and itself.
        local function undelay(id)
            local blob = redis.call('HGET', P .. 'dj', id)
            redis.call('ZREM', P .. 'd', id)
            redis.call('HDEL', P .. 'dj', id)
            if not blob then return nil end
            local tenant = tenantOf(blob)
            local s = tenantState(tenant)
            s.delayed = math.max(0, s.delayed - 1)
            touch(tenant)
            return tenant, blob
        end
        local function forget(id)
            redis.call('SREM', P .. 'u', id)
            redis.call('ZREM', P .. 'cx', id)
        end
        local function bury(tenant, blob)
            local id = jobID(blob)
            forget(id)
            redis.call('ZADD', P .. 'x', now, id)
            redis.call('HSET', P .. 'xj', id, blob)
            if redis.call('ZCARD', P .. 'x') > 10000 then
                local oldest = redis.call('ZPOPMIN', P .. 'x')
                redis.call('HDEL', P .. 'xj', oldest[1])
            end
        end

        """

    /// Whether a worker was told to fetch no more: as a process, which is its name without each lease's own number.
    static let isQuiet = """
        local function isQuiet(worker)
            return redis.call('EXISTS', P .. 'qt') == 1
                and redis.call('ZSCORE', P .. 'qt', string.match(worker, '^(.+)%-%d+$') or worker) and true or false
        end

        """

    /// Adds jobs.
    ///
    /// Arguments: the window (how many jobs of a tenant may wait here; 0 for any number), where they come from
    /// (`RedisQueue.Source`), then groups of jobs of one tenant, priority and time: tenant, priority, due in ms or 0, `1`
    /// for ephemeral jobs (which nothing else holds: they are taken always, and not remembered), how many, and the jobs.
    /// Known ids are left alone. Once a tenant's window was full, it takes jobs from the backlog alone until that is
    /// empty, so that none overtakes those that waited longer, but for those of high priority, and tries, which waited
    /// before. Gives how many were new, then the positions, from 0 over all groups, of those that found no room, and, of
    /// tries, of those that were known.
    static let enqueue = RedisScript(
        enqueueBehind + prelude + """
            local window, source = tonumber(ARGV[1]), ARGV[2]
            local added, woken, touched, refused, there, position, at = 0, false, {}, {}, {}, 0, 3
            while at <= #ARGV do
                local tenant, priority, due = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
                local isEphemeral, count = ARGV[at + 3] == '1', tonumber(ARGV[at + 4])
                local from = at + 5
                local s = tenantState(tenant)
                local fresh = {}
                if isEphemeral then
                    for i = from, from + count - 1 do fresh[#fresh + 1] = ARGV[i] end
                else
                    local ids, taken = {}, {}
                    for i = from, from + count - 1 do ids[#ids + 1] = jobID(ARGV[i]) end
                    local known = redis.call('SMISMEMBER', P .. 'u', unpack(ids))
                    local room = math.huge
                    if window > 0 and priority == 0 then
                        -- A tenth more for what is urgent: behind a backlog it overtakes, as it does here.
                        room = math.max(0, window + math.ceil(window / 10) - waiting(s) - s.delayed)
                    elseif window > 0 then
                        room = s.spilled and source == 'new' and 0 or math.max(0, window - waiting(s) - s.delayed)
                    end
                    for i = 1, count do
                        if known[i] == 0 and not taken[ids[i]] then
                            if #fresh < room then
                                fresh[#fresh + 1] = ARGV[from + i - 1]
                                taken[ids[i]] = true
                                taken[#taken + 1] = ids[i]
                            else
                                if source ~= 'tries' then
                                    s.spilled = true
                                    touch(tenant)
                                end
                                refused[#refused + 1] = position + i - 1
                            end
                        elseif source == 'tries' then
                            there[#there + 1] = position + i - 1
                        end
                    end
                    if #taken > 0 then redis.call('SADD', P .. 'u', unpack(taken)) end
                end
                if #fresh > 0 then
                    added = added + #fresh
                    touch(tenant)
                    if due > now then
                        local first = redis.call('ZRANGE', P .. 'd', 0, 0, 'WITHSCORES')[2]
                        for _, blob in ipairs(fresh) do delay(tenant, blob, due) end
                        if not first or due < tonumber(first) then woken = true end
                    else
                        redis.call('RPUSH', P .. 'r:' .. tenant .. ':' .. priority, unpack(fresh))
                        s.w[priority + 1] = s.w[priority + 1] + #fresh
                        touched[tenant] = true
                    end
                end
                position = position + count
                at = from + count
            end
            for tenant in pairs(touched) do
                activate(tenant)
                woken = true
            end
            save()
            if woken then ring() end
            return {added, refused, there}
            """)

    /// What an enqueue of one ephemeral job begins with: behind others of its tenant, the job changes nothing but how many
    /// wait, so the tenant's state is not even unpacked, and none of the prelude's functions is made. A third of the time.
    private static let enqueueBehind = """
        if #ARGV == 8 and ARGV[6] == '1' and ARGV[5] == '0' then
            local T, tenant, priority = KEYS[1] .. 'T', ARGV[3], tonumber(ARGV[4])
            local state = redis.call('HGET', T, tenant)
            if state then
                local waiting = {struct.unpack('<I4I4I4', state, 13)}
                if waiting[1] + waiting[2] + waiting[3] > 0 then
                    redis.call('RPUSH', KEYS[1] .. 'r:' .. tenant .. ':' .. ARGV[4], ARGV[8])
                    local at = 12 + 4 * priority
                    redis.call('HSET', T, tenant, string.sub(state, 1, at)
                        .. struct.pack('<I4', waiting[priority + 1] + 1) .. string.sub(state, at + 5))
                    if redis.call('LLEN', KEYS[1] .. 'bell') < 1 then redis.call('LPUSH', KEYS[1] .. 'bell', '1') end
                    return {1}
                end
            end
        end

        """

    /// How much room a tenant's window has. Arguments: tenant, window.
    static let room = RedisScript(
        prelude + """
            local s = tenantState(ARGV[1])
            return math.max(0, tonumber(ARGV[2]) - waiting(s) - s.delayed)
            """)

    /// Says that nothing of a tenant waits in the backlog any more: its jobs are taken as they come.
    static let endSpill = RedisScript(
        prelude + """
            tenantState(ARGV[1]).spilled = false
            touch(ARGV[1])
            save()
            return 1
            """)
}
