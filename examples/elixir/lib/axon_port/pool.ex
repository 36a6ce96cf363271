defmodule AxonPort.Pool do
  @moduledoc """
  The workers that are ready, and which of them a run goes to: the one with the fewest under way.

  A worker carries a thousand runs at once, so nothing is checked out and nothing is given back; a run only has to find
  the least loaded worker. That takes no process: callers read a table and count themselves in, the worker's owner counts
  them out when their runs have ended. Only when no worker is ready does a caller wait, in here, for the first one.

  This process writes the table. Workers join when they are ready (`AxonPort.Guard`) and are taken out when they die. The
  table itself, and that of the agents that were created by name, belong to whoever supervises the pool: agents outlive
  it, and callers find a pool that is being restarted, with nobody ready in it.
  """

  use GenServer

  alias AxonPort.{Agent, Command, Error, Milliseconds}

  @ready_timeout 30_000

  # Between two looks whether a pool is there again.
  @restart_ms 20

  @typedoc "A row of the table: a worker, the counter of its load, and how much it carries."
  @type row :: {worker :: pid, load :: :atomics.atomics_ref(), limit :: pos_integer}

  @typedoc "An agent, and the command that creates it."
  @type definition :: {Agent.t(), Command.t()}

  @doc "Makes the tables of the pool of this name. They live as long as the calling process."
  @spec prepare(atom) :: :ok
  def prepare(name) do
    for table <- [table(name), agents(name)],
        do: :ets.new(table, [:named_table, :public, read_concurrency: true])

    :ok
  end

  @doc """
  Starts a pool, whose tables are there.

    * `:name` - an atom, required: what callers know it by
    * `:ready_timeout` - ms that callers wait for a first worker, default 30000
    * `:scope` - the `:pg` scope in which the pool can be found from other nodes, if it is to be found
  """
  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(options) do
    GenServer.start_link(__MODULE__, options, name: Keyword.fetch!(options, :name))
  end

  @doc "Whether there is a pool of this name on this node."
  @spec exists?(term) :: boolean
  def exists?(name), do: is_atom(name) and :ets.whereis(table(name)) != :undefined

  @doc """
  The least loaded worker, counted in, other than those that were tried. Where none is ready it waits for one, up to
  `:ready_timeout` and no longer than `patience`, in milliseconds; before that for the pool, if it is being restarted.
  """
  @spec pick(atom, [pid], non_neg_integer) :: {:ok, pid} | {:error, Error.t()}
  def pick(name, tried \\ [], patience \\ Milliseconds.longest()) do
    case choose(name, tried) do
      {:error, %Error{reason: :not_ready}} when patience > 0 -> await(name, tried, now() + patience)
      chosen_full_or_none -> chosen_full_or_none
    end
  end

  @doc "As `pick/3`, but does not wait."
  @spec choose(atom, [pid]) :: {:ok, pid} | {:error, Error.t()}
  def choose(name, tried \\ []) do
    case for(
           {worker, load, limit} <- rows(name),
           worker not in tried,
           do: {:atomics.get(load, 1), worker, load, limit}
         ) do
      [] ->
        {:error, Error.new(:not_ready)}

      candidates ->
        {count, worker, load, limit} = Enum.min(candidates)
        if count < limit, do: count_in(worker, load), else: {:error, Error.new(:overloaded)}
    end
  end

  defp count_in(worker, load) do
    :atomics.add(load, 1, 1)
    {:ok, worker}
  end

  defp await(name, tried, until) do
    case ask_to_wait(name, tried, left(until)) do
      :ready -> choose(name, tried)
      :not_ready -> {:error, Error.new(:not_ready)}
      :gone -> await_restart(name, tried, until)
    end
  end

  defp ask_to_wait(name, tried, patience) do
    GenServer.call(name, {:await, tried, patience}, :infinity)
  catch
    :exit, _gone -> :gone
  end

  # As long as its tables are there, it will be: once its workers have drained. Nobody sends a message then.
  defp await_restart(name, tried, until) do
    cond do
      not exists?(name) ->
        {:error, Error.new(:not_ready, "there is no pool #{inspect(name)}")}

      left(until) == 0 ->
        {:error, Error.new(:not_ready)}

      true ->
        Process.sleep(min(@restart_ms, left(until)))
        await(name, tried, until)
    end
  end

  defp now, do: System.monotonic_time(:millisecond)
  defp left(until), do: max(until - now(), 0)

  @doc "A worker of a pool that may be on another node, chosen there."
  @spec choose_at(pid, [pid], timeout) :: {:ok, pid} | {:error, Error.t()}
  def choose_at(pool, tried, timeout) do
    GenServer.call(pool, {:choose, tried}, timeout)
  catch
    :exit, _gone -> {:error, Error.new(:not_ready, "node #{node(pool)} does not answer")}
  end

  @doc "The workers that are ready, with their load."
  @spec workers(atom) :: [%{worker: pid, load: integer, limit: pos_integer}]
  def workers(name) do
    for {worker, load, limit} <- rows(name), do: %{worker: worker, load: :atomics.get(load, 1), limit: limit}
  end

  @doc "The workers of a pool that may be on another node."
  @spec workers_at(pid) :: [pid]
  def workers_at(pool) do
    GenServer.call(pool, :workers)
  catch
    :exit, _gone -> []
  end

  @doc "A worker is ready for up to `limit` runs. Its owner counts them out of `load`."
  @spec join(atom, pid, :atomics.atomics_ref(), pos_integer) :: :ok
  def join(name, worker, load, limit), do: GenServer.call(name, {:join, worker, load, limit})

  @doc "A worker takes no more runs."
  @spec leave(atom, pid) :: :ok
  def leave(name, worker), do: GenServer.call(name, {:leave, worker})

  @doc "Remembers an agent, so that runs may name it."
  @spec remember(atom, String.t(), definition) :: :ok
  def remember(name, agent_id, definition) do
    :ets.insert(agents(name), {agent_id, definition})
    :ok
  end

  @doc "Forgets an agent."
  @spec forget(atom, String.t()) :: :ok
  def forget(name, agent_id) do
    :ets.delete(agents(name), agent_id)
    :ok
  end

  @doc "The agent of this name, if it was created here."
  @spec agent(atom, String.t()) :: definition | nil
  def agent(name, agent_id) do
    case :ets.lookup(agents(name), agent_id) do
      [{_agent_id, definition}] -> definition
      [] -> nil
    end
  rescue
    # It has been stopped just now.
    ArgumentError -> nil
  end

  defp rows(name) do
    :ets.tab2list(table(name))
  rescue
    ArgumentError -> []
  end

  defp table(name), do: Module.concat(name, Ready)
  defp agents(name), do: Module.concat(name, Agents)

  # The process

  @impl true
  def init(options) do
    name = Keyword.fetch!(options, :name)
    # Those of an earlier pool have gone with it.
    :ets.delete_all_objects(table(name))
    if scope = options[:scope], do: :ok = :pg.join(scope, :pools, self())

    {:ok,
     %{name: name, ready_timeout: options[:ready_timeout] || @ready_timeout, waiting: %{}, monitors: %{}}}
  end

  @impl true
  def handle_call({:await, tried, patience}, from, state) do
    if Enum.all?(rows(state.name), fn {worker, _, _} -> worker in tried end),
      do: {:noreply, wait(state, from, min(patience, state.ready_timeout))},
      else: {:reply, :ready, state}
  end

  def handle_call(:workers, _from, state),
    do: {:reply, for({worker, _, _} <- rows(state.name), do: worker), state}

  def handle_call({:choose, tried}, _from, state), do: {:reply, choose(state.name, tried), state}

  def handle_call({:join, worker, load, limit}, _from, state) do
    :ets.insert(table(state.name), {worker, load, limit})
    for {_timer, from} <- state.waiting, do: GenServer.reply(from, :ready)
    monitors = Map.put_new_lazy(state.monitors, worker, fn -> Process.monitor(worker) end)
    {:reply, :ok, %{state | waiting: %{}, monitors: monitors}}
  end

  def handle_call({:leave, worker}, _from, state), do: {:reply, :ok, take_out(state, worker)}

  # A request of somebody who takes us for a worker: he is told so, and we live on.
  def handle_call(_request, _from, state) do
    {:reply, {:error, Error.new(:not_ready, "#{inspect(state.name)} is a pool: use its name")}, state}
  end

  @impl true
  def handle_info({:DOWN, _monitor, :process, worker, _reason}, state),
    do: {:noreply, take_out(state, worker)}

  def handle_info({:timeout, timer, :not_ready}, state) do
    {from, waiting} = Map.pop(state.waiting, timer)
    if from, do: GenServer.reply(from, :not_ready)
    {:noreply, %{state | waiting: waiting}}
  end

  def handle_info(_stray, state), do: {:noreply, state}

  defp wait(state, from, ms) do
    timer = :erlang.start_timer(ms, self(), :not_ready)
    put_in(state.waiting[timer], from)
  end

  defp take_out(state, worker) do
    :ets.delete(table(state.name), worker)
    {monitor, monitors} = Map.pop(state.monitors, worker)
    if monitor, do: Process.demonitor(monitor, [:flush])
    %{state | monitors: monitors}
  end
end
