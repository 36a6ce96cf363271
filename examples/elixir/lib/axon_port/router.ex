defmodule AxonPort.Router do
  @moduledoc """
  Finds the worker that a request goes to, and another one where that was not to be.

  A request that a worker refused before it began (`AxonPort.Error.refused?/1`) goes to another one, whatever it is. One
  that failed on the way is tried again only as often as its caller says.
  """

  alias AxonPort.{Backoff, Cluster, Error, Pool, Request, Run, Server, Worker}

  @doc """
  Sends a request and waits for its outcome, in up to `attempts` attempts. None begins when the time of the request is
  over.
  """
  @spec call(AxonPort.server(), Request.t(), pos_integer) :: {:ok, term} | {:error, Error.t()}
  def call(server, request, attempts) do
    server = Server.here(server)
    attempt(server, server |> known(request) |> timed(), 1, attempts)
  end

  defp attempt(server, request, number, attempts) do
    with {:error, error} <- placed(server, request, &Worker.call/2) do
      pause = pause(error, number)

      if number < attempts and Error.retryable?(error) and pause < left(request) do
        Process.sleep(pause)
        attempt(server, request, number + 1, attempts)
      else
        {:error, error}
      end
    end
  end

  # Another worker is there at once; a provider wants to be left alone for a while.
  defp pause(%Error{reason: :worker_exited}, _number), do: 0
  defp pause(%Error{retry_after_ms: ms}, _number) when is_integer(ms), do: ms
  defp pause(_error, number), do: Backoff.delay(%Backoff{}, number)

  @doc "Gives a request to a worker that takes it, by a function as `AxonPort.Worker.call/2`, whose answer this has."
  @spec open(AxonPort.server(), Request.t(), opener) :: {:ok, answer} | {:error, Error.t()}
        when opener: (Worker.server(), Request.t() -> {:ok, answer} | {:error, Error.t()}), answer: term
  def open(server, request, opener) do
    server = Server.here(server)
    placed(server, server |> known(request) |> timed(), opener)
  end

  @doc """
  Gives a request that `open/3` had opened to another worker. Those in `tried` have refused it before it began, the last
  one with this error, which is the outcome where there is no other.
  """
  @spec reopen(AxonPort.server(), Request.t(), opener, [pid, ...], Error.t()) ::
          {:ok, answer} | {:error, Error.t()}
        when opener: (Worker.server(), Request.t() -> {:ok, answer} | {:error, Error.t()}), answer: term
  def reopen(server, request, opener, tried, error),
    do: elsewhere(Server.here(server), request, opener, tried, left(request), error)

  # From now on the caller's time runs, whatever the request waits for.
  defp timed(%Request{timeout: timeout} = request), do: %{request | until: now() + timeout}
  defp left(%Request{until: until}), do: max(until - now(), 0)
  defp now, do: System.monotonic_time(:millisecond)

  defp placed(server, request, send_to), do: placed(server, request, send_to, [], left(request))

  # Sends the request to one worker after the other, until one takes it. Each is told how much time is left.
  defp placed(server, request, send_to, tried, patience) do
    with {:ok, worker, request} <- pick(server, request, tried, patience),
         {:error, error} <- send_to.(worker, %{request | timeout: left(request)}),
         do: elsewhere(server, request, send_to, [worker | tried], patience, error)
  end

  defp elsewhere(server, request, send_to, tried, patience, error) do
    if Error.refused?(error) and pooled?(server) do
      patience = if error.reason == :overloaded, do: 0, else: min(patience, left(request))
      with {:error, %Error{}} <- placed(server, request, send_to, tried, patience), do: {:error, error}
    else
      {:error, error}
    end
  end

  # Another worker is waited for where there is none, or the last one has gone; not where all that there are are full.
  defp pick({:cluster, name}, request, tried, patience) do
    counted(Cluster.pick(name, tried, patience), request)
  end

  defp pick(server, request, tried, patience) do
    if Pool.exists?(server),
      do: counted(Pool.pick(server, tried, patience), request),
      else: single(server, request)
  end

  defp counted({:ok, worker}, request), do: {:ok, worker, %{request | counted: true}}
  defp counted({:error, error}, _request), do: {:error, error}

  defp single(server, request) do
    with {:ok, worker} <- Server.worker(server), do: {:ok, worker, request}
  end

  defp pooled?({:cluster, _name}), do: true
  defp pooled?(server), do: Pool.exists?(server)

  # A run that names an agent gets it from the pool that knows it, for a worker that may not have it.
  defp known({:cluster, name}, request), do: known(name, request)

  defp known(server, %Request{agent: nil, agent_id: agent_id} = request) when agent_id != nil do
    case Pool.exists?(server) && Pool.agent(server, agent_id) do
      {agent, create} -> of_agent(%{request | agent: agent, create: create})
      _unknown -> request
    end
  end

  defp known(_server, request), do: request

  # Whoever has given no limit himself has the agent's, which is known only now.
  defp of_agent(%Request{kind: kind, bounded: false, agent: agent} = request) when kind in [:run, :stream],
    do: %{request | timeout: Run.limit_ms(agent), bounded: true}

  defp of_agent(request), do: request

  @doc "The workers of a server that are ready, on all nodes."
  @spec workers(AxonPort.server()) :: [Worker.server()]
  def workers({:cluster, name}) do
    Enum.flat_map(Cluster.pools(name), &Pool.workers_at/1)
  end

  def workers(server) do
    server = Server.here(server)

    if Pool.exists?(server),
      do: for(%{worker: worker} <- Pool.workers(server), do: worker),
      else: [worker(server)]
  end

  # Whoever asks one that is not there is told so.
  defp worker(server) do
    case Server.worker(server) do
      {:ok, worker} -> worker
      {:error, _not_there} -> server
    end
  end

  @doc "Creates an agent: the pool remembers it, one worker says whether it can be."
  @spec create(AxonPort.server(), Request.t()) :: {:ok, map} | {:error, Error.t()}
  def create(server, request) do
    with {:ok, info} <- call(server, request, 1) do
      if pool = local(server), do: Pool.remember(pool, request.agent_id, {request.agent, request.create})
      {:ok, info}
    end
  end

  @doc "Deletes an agent from all workers. Whoever does not have it has nothing to delete."
  @spec delete(AxonPort.server(), Request.t()) :: :ok | {:error, Error.t()}
  def delete(server, request) do
    if pool = local(server), do: Pool.forget(pool, request.agent_id)
    every(workers(server), request)
  end

  @doc "Sets the log level of all workers there are. One that starts later begins with the level of its options."
  @spec set_log_level(AxonPort.server(), Request.t()) :: :ok | {:error, Error.t()}
  def set_log_level(server, request) do
    case workers(server) do
      [] -> {:error, Error.new(:not_ready, "no worker of #{inspect(server)} is ready")}
      workers -> every(workers, request)
    end
  end

  defp every(workers, request) do
    Enum.reduce(workers, :ok, fn worker, so_far ->
      case Worker.call(worker, request) do
        {:ok, _empty} -> so_far
        {:error, %Error{reason: :agent_not_found}} -> so_far
        {:error, error} -> {:error, error}
      end
    end)
  end

  defp local({:cluster, name}), do: local(name)

  defp local(server) do
    server = Server.here(server)
    if Pool.exists?(server), do: server
  end
end
