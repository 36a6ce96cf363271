defmodule AxonPort.PoolTest do
  use ExUnit.Case, async: true

  import AxonPort.RealWorker

  alias AxonPort.{Error, Pool}

  @patience AxonPort.RealWorker.patience()

  describe "a pool, whose workers are processes of the test" do
    setup do
      name = unique_name()
      Pool.prepare(name)
      start_supervised!({Pool, name: name, ready_timeout: 1})
      %{pool: name}
    end

    defp join(pool, load, limit \\ 10) do
      worker = spawn_link(fn -> receive do: (:stop -> :ok) end)
      counter = :atomics.new(1, [])
      :atomics.put(counter, 1, load)
      Pool.join(pool, worker, counter, limit)
      worker
    end

    test "picks the least loaded, and counts it in", %{pool: pool} do
      busy = join(pool, 3)
      idle = join(pool, 1)

      assert for(_ <- 1..4, {:ok, worker} = Pool.pick(pool), do: worker) |> Enum.frequencies() == %{
               idle => 3,
               busy => 1
             }
    end

    test "says that it is full when all are", %{pool: pool} do
      join(pool, 10)
      assert {:error, %Error{reason: :overloaded, retryable: true}} = Pool.pick(pool)
    end

    test "does not pick what was tried", %{pool: pool} do
      [one, other] = [join(pool, 0), join(pool, 5)]
      assert {:ok, ^other} = Pool.pick(pool, [one])
      assert {:error, %Error{reason: :not_ready}} = Pool.pick(pool, [one, other])
    end

    test "forgets a worker that has died or left", %{pool: pool} do
      [dead, left] = [join(pool, 0), join(pool, 0)]
      Pool.leave(pool, left)
      send(dead, :stop)
      eventually(fn -> Pool.workers(pool) == [] end, "a dead worker is still there")
      assert {:error, %Error{reason: :not_ready}} = Pool.pick(pool)
    end
  end

  test "callers wait for the first worker" do
    name = unique_name()
    Pool.prepare(name)
    start_supervised!({Pool, name: name, ready_timeout: @patience})
    waiting = Task.async(fn -> Pool.pick(name) end)
    eventually(fn -> :sys.get_state(name).waiting != %{} end, "nobody waits")
    Pool.join(name, self(), :atomics.new(1, []), 1)
    assert Task.await(waiting) == {:ok, self()}
  end

  test "callers wait for a pool that is being restarted" do
    name = unique_name()
    Pool.prepare(name)
    test = self()

    waiting =
      Task.async(fn ->
        send(test, :asks)
        Pool.pick(name)
      end)

    assert_receive :asks, @patience
    eventually(fn -> waits?(waiting.pid) end, "it does not wait")
    start_supervised!({Pool, name: name, ready_timeout: @patience})
    Pool.join(name, self(), :atomics.new(1, []), 1)
    assert Task.await(waiting, @patience) == {:ok, self()}
  end

  # Or is over, and has not waited.
  defp waits?(pid), do: Process.info(pid, :status) in [{:status, :waiting}, nil]

  test "callers wait no longer than they have the patience to" do
    name = unique_name()
    Pool.prepare(name)
    start_supervised!({Pool, name: name, ready_timeout: 3_600_000})
    for patience <- [0, 1], do: assert({:error, %Error{reason: :not_ready}} = Pool.pick(name, [], patience))
  end

  test "one that is being restarted is a pool without workers, and nothing else" do
    name = unique_name()
    Pool.prepare(name)
    assert Pool.exists?(name)
    assert {:error, %Error{reason: :not_ready}} = AxonPort.ping(name, timeout: 1)
    assert {:error, %Error{reason: :not_ready}} = AxonPort.set_log_level(name, :debug)
  end
end
