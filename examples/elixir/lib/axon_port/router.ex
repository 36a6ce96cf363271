defmodule AxonPort.Router do
  @moduledoc """
  Finds the worker that a request goes to, and another one where that was not to be.

  A request that a worker refused before it began (`AxonPort.Error.refused?/1`) goes to another one, whatever it is. One
  that failed on the way is tried again only as often as its caller says.
  """

  alias AxonPort.{Backoff, Cluster, Error, Pool, Request, Worker}

  @doc "Sends a request and waits for its outcome, in up to `attempts` attempts."
  @spec call(AxonPort.server(), Request.t(), pos_integer) :: {:ok, term} | {:error, Error.t()}
  def call(server, request, attempts), do: attempt(server, known(server, request), 1, attempts)

  defp attempt(server, request, number, attempts) do
    with {:error, error} <- placed(server, request, &Worker.call(&1, &2)) do
      if number < attempts and Error.retryable?(error) do
        wait(error, number)
        attempt(server, request, number + 1, attempts)
      else
        {:error, error}
      end
    end
  end

  # Another worker is there at once; a provider wants to be left alone for a while.
  defp wait(%Error{reason: :worker_exited}, _number), do: :ok
  defp wait(%Error{retry_after_ms: ms}, _number) when is_integer(ms), do: Process.sleep(ms)
  defp wait(_error, number), do: Process.sleep(Backoff.delay(%Backoff{}, number))

  @doc "Opens a request whose messages go to `sink`, or to an alias of the calling process."
  @spec open(AxonPort.server(), Request.t(), pid | :alias) :: {:ok, Worker.opened()} | {:error, Error.t()}
  def open(server, request, sink), do: placed(server, known(server, request), &Worker.open(&1, &2, sink))

  # Sends the request to one worker after the other, until one takes it.
  defp placed(server, request, send_to, tried \\ []) do
    with {:ok, worker, request} <- pick(server, request, tried),
         {:error, error} <- send_to.(worker, request) do
      if Error.refused?(error) and pooled?(server) do
        with {:error, %Error{}} <- placed(server, request, send_to, [worker | tried]), do: {:error, error}
      else
        {:error, error}
      end
    end
  end

  defp pick({:cluster, name}, request, tried), do: counted(Cluster.pick(name, tried), request)

  defp pick(server, request, tried) do
    if Pool.exists?(server), do: counted(Pool.pick(server, tried), request), else: single(server, request)
  end

  defp counted({:ok, worker}, request), do: {:ok, worker, %{request | counted: true}}
  defp counted({:error, error}, _request), do: {:error, error}

  defp single(server, request) do
    case GenServer.whereis(server) do
      nil -> {:error, Error.new(:not_ready, "there is no #{inspect(server)}")}
      worker -> {:ok, worker, request}
    end
  end

  defp pooled?({:cluster, _name}), do: true
  defp pooled?(server), do: Pool.exists?(server)

  # A run that names an agent gets it from the pool that knows it, for a worker that may not.
  defp known({:cluster, name}, request), do: known(name, request)

  defp known(server, %Request{agent: nil, agent_id: agent_id} = request) when agent_id != nil do
    if Pool.exists?(server), do: %{request | agent: Pool.agent(server, agent_id)}, else: request
  end

  defp known(_server, request), do: request

  @doc "The workers of a server that are ready, on all nodes."
  @spec workers(AxonPort.server()) :: [Worker.server()]
  def workers({:cluster, name}) do
    Enum.flat_map(Cluster.pools(name), &Pool.workers_at/1)
  end

  def workers(server) do
    if Pool.exists?(server), do: for(%{worker: worker} <- Pool.workers(server), do: worker), else: [server]
  end

  @doc "Creates an agent: the pool remembers it, one worker says whether it can be."
  @spec create(AxonPort.server(), Request.t()) :: {:ok, map} | {:error, Error.t()}
  def create(server, request) do
    with {:ok, info} <- call(server, request, 1) do
      if pool = local(server), do: Pool.remember(pool, request.agent_id, request.agent)
      {:ok, info}
    end
  end

  @doc "Deletes an agent from all workers. Whoever does not have it has nothing to delete."
  @spec delete(AxonPort.server(), Request.t()) :: :ok | {:error, Error.t()}
  def delete(server, request) do
    if pool = local(server), do: Pool.forget(pool, request.agent_id)

    Enum.reduce(workers(server), :ok, fn worker, so_far ->
      case Worker.call(worker, request) do
        {:ok, _empty} -> so_far
        {:error, %Error{reason: :agent_not_found}} -> so_far
        {:error, error} -> {:error, error}
      end
    end)
  end

  defp local({:cluster, name}), do: local(name)
  defp local(server), do: if(Pool.exists?(server), do: server)
end
