-- Counts a hit in sliding windows, unless one of them is full.
--
-- KEYS: a list for each window, of the times of its hits, the newest first
-- ARGV: for each window how many hits it takes, and its length in milliseconds
-- Returns: the number of the window that was full, or 0; then for each window how many hits it has
--          and in how many milliseconds the oldest leaves it
--
-- Atomic, for of two that count before either has written one too many would be let through. Times
-- are the server's: replicas' clocks differ. Each list expires with its newest hit.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local refused = 0
local answer = {0}

for number, key in ipairs(KEYS) do
    local amount, length = tonumber(ARGV[2 * number - 1]), tonumber(ARGV[2 * number])
    local oldest = redis.call('LINDEX', key, -1)
    while oldest and tonumber(oldest) <= now - length do
        redis.call('RPOP', key)
        oldest = redis.call('LINDEX', key, -1)
    end
    local count = redis.call('LLEN', key)
    if refused == 0 then
        if count < amount then
            redis.call('LPUSH', key, now)
            redis.call('PEXPIRE', key, length)
            count = count + 1
            oldest = oldest or now
        else
            refused = number
        end
    end
    answer[#answer + 1] = count
    answer[#answer + 1] = (oldest and tonumber(oldest) + length or now) - now
end

answer[1] = refused
return answer
