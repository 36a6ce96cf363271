defmodule AxonPort.Server do
  @moduledoc """
  What callers may name as a server, and what is found there.

  A process dies of a request that it does not understand. For a supervisor, or a pool that is asked by its pid, that
  would be the end of everybody's runs. So a process is looked at before anything is sent to it.
  """

  alias AxonPort.{Error, Pool, Worker}

  # What another node may take to say what a process is.
  @look_ms 5_000

  @doc "Whether this can be a server, there or not: a worker, its name here or on a node, the name of a pool or a cluster's."
  @spec server?(term) :: boolean
  def server?(term), do: name?(term) and (Pool.exists?(here(term)) or found(term) != :another)

  defp name?(term) when is_pid(term) or is_atom(term), do: true
  defp name?({:global, _name}), do: true
  defp name?({name, node}) when is_atom(name) and is_atom(node), do: true
  defp name?({:via, module, _name}) when is_atom(module), do: true
  defp name?(_other), do: false

  @doc "The server by its shortest name: a name on this node is the name alone, by which a pool is known."
  @spec here(term) :: term
  def here({:cluster, _name} = cluster), do: cluster
  def here({:global, _name} = global), do: global
  def here({name, node}) when is_atom(name) and node == node(), do: name
  def here(server), do: server

  @doc "The worker that is meant. Raises `ArgumentError` for what is none."
  @spec worker(term) :: {:ok, pid} | {:error, Error.t()}
  def worker(server) do
    with true <- name?(server),
         found when found != :another <- found(server) do
      found
    else
      _another -> raise ArgumentError, "#{inspect(server)} is no server: see AxonPort"
    end
  end

  defp found({:cluster, _name}), do: :cluster

  defp found(server) do
    case GenServer.whereis(server) do
      nil -> none(server)
      {name, node} -> on(node, :erlang, :whereis, [name], &judged(server, &1))
      process -> judged(server, process)
    end
  end

  defp judged(server, :undefined), do: none(server)

  defp judged(server, pid) when is_pid(pid),
    do: on(node(pid), :erlang, :process_info, [pid, :dictionary], &what(server, pid, &1))

  defp judged(_server, _port), do: :another

  defp what(server, _pid, :undefined), do: none(server)

  defp what(_server, pid, {:dictionary, dictionary}) do
    if List.keyfind(dictionary, :"$initial_call", 0) == {:"$initial_call", {Worker, :init, 1}},
      do: {:ok, pid},
      else: :another
  end

  defp none(server), do: {:error, Error.new(:not_ready, "there is no #{inspect(server)}")}

  defp on(node, module, function, arguments, judge) when node == node(),
    do: judge.(apply(module, function, arguments))

  defp on(node, module, function, arguments, judge) do
    judge.(:erpc.call(node, module, function, arguments, @look_ms))
  catch
    :error, {:erpc, _reason} -> {:error, Error.new(:not_ready, "node #{node} does not answer")}
  end
end
