defmodule AxonPort.RouterTest do
  @moduledoc "Which worker a request goes to, and what it is told. Workers are processes of the test."
  use ExUnit.Case, async: true

  import AxonPort.RealWorker

  alias AxonPort.{Agent, Pool, Request, Router, Run}

  @patience AxonPort.RealWorker.patience()

  setup do
    pool = unique_name()
    Pool.prepare(pool)
    start_supervised!({Pool, name: pool, ready_timeout: @patience})
    %{pool: pool, agent: Agent.new(id: "a", model: "test", timeout: 20_000)}
  end

  defp join(pool) do
    worker = spawn_link(fn -> receive do: (:stop -> :ok) end)
    Pool.join(pool, worker, :atomics.new(1, []), 10)
    worker
  end

  # What a worker is asked, where each of them answers so.
  defp opened(pool, agent, options) do
    {:ok, request} = Run.request(:run, agent, "go", options)
    {:ok, request} = Router.open(pool, request, fn _worker, request -> {:ok, request} end)
    request
  end

  test "the time that was waited for a worker is off the worker's own limit", %{pool: pool, agent: agent} do
    waiting = Task.async(fn -> opened(pool, agent, timeout: 60_000) end)
    eventually(fn -> :sys.get_state(pool).waiting != %{} end, "nobody waits")
    # A clock that is known to have gone on.
    receive after: (5 -> :ok)
    join(pool)
    request = Task.await(waiting, @patience)
    assert Request.limit_ms(request) in 1..59_995
  end

  test "who gives no limit has the agent's, also where only the pool knows the agent", %{
    pool: pool,
    agent: agent
  } do
    join(pool)
    {:ok, create} = Run.definition(agent)
    Pool.remember(pool, "a", {agent, create})
    assert Request.limit_ms(opened(pool, agent, [])) in 1..20_000
    assert Request.limit_ms(opened(pool, "a", [])) in 1..20_000
    assert Request.limit_ms(opened(pool, "a", timeout: 30_000)) in 20_001..30_000
    # Of this one the worker may know a limit, and nobody else does.
    assert Request.limit_ms(opened(pool, "other", [])) == nil
  end
end
